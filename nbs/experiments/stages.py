"""What each stage of `closed-form` pays: the structure with the teacher's own weights, its parts solved one by one, the walk through the whole student.

python nbs/experiments/stages.py TEACHER.json DATA --n 50 --out nbs/results/cifar_stages.csv
"""
import pandas as pd
from fastcore.script import call_parse, Param
import dcvit
from dcvit.blocks import read
from dcvit.data import few_shot
from dcvit.measure import logits, top1
from dcvit.refit import split
from dcvit.surgery import prune
from dcvit.units import assemble, statistics
from budget_table import load, nums
from common import finished, scores, to_text

def students(m, few, keep, seed):
    "The student after each stage, and its structure"
    net,res = read(m),dcvit.compress(m, few.images or few.pixels, n=len(few), keep_macs=keep, recipe='closed-form', seed=seed, device='cpu', timing=False, progress=False)
    s,stats = res.structure,statistics(m, net, *split(few))
    picked = {(i,w): stats[i,w].pick(n) for i,l in enumerate(s.blocks) for w,n in (('mixer',l.heads),('mlp',l.hidden)) if n and (i,w) in stats}
    return {'surgery alone': prune(m, s, picked, net=net), 'solved': assemble(m, net, s, stats), 'refit': res.model}, s

@call_parse
def main(teacher:str,
         data:Param('folder with train/ and test/', str, opt=False, nargs='?')=None,
         out:str='nbs/results/stages.csv', # finished rows are kept and not run again
         keep:str='0.9,0.75,0.6,0.5,0.4',  # fractions of the teacher's MACs
         n:str='50', seeds:str='0,1,2'):
    "Measure every stage at every budget and append a row for each"
    m,cfg,source,x,y = load(teacher, data); t = logits(m, x)
    done = finished(out)
    for seed in nums(seeds, int):
        for count in nums(n, int):
            few = few_shot(source, cfg, count, seed)
            for q in nums(keep):
                if len(done) and len(done.query('n==@count and seed==@seed and keep==@q')): continue
                made,s = students(m, few, q, seed)
                rows = [dict(n=count, seed=seed, keep=q, stage=k, **scores(t, logits(v, x), y), top1_teacher=top1(t,y), blocks=to_text(s)) for k,v in made.items()]
                done = pd.concat([done, pd.DataFrame(rows)]); done.to_csv(out, index=False)
                print(seed, count, q, {r['stage']: round(r['top1'],2) for r in rows}, flush=True)
