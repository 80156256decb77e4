"""What each stage of recovery adds: the searched structures after surgery alone, after solving from statistics, and after the refit.

python nbs/experiments/stages.py TEACHER.json DATA --out nbs/results/cifar_stages.csv
"""
from pathlib import Path
import pandas as pd, torch
from fastcore.script import call_parse, Param
from budget_table import load, nums
from dcvit.blocks import read
from dcvit.data import Batches, few_shot, spread
from dcvit.measure import agreement, kl, logits, top1
from dcvit.refit import refit, split
from dcvit.search import loss_table, prices, probe, search
from dcvit.structure import budget, uniform
from dcvit.surgery import prune
from dcvit.units import assemble, statistics

def picked(net, structure, stats):
    "The units that the statistics would keep"
    left = lambda i,w: structure[i].heads if w=='mixer' else structure[i].hidden
    return {k: s.pick(left(*k)) for k,s in stats.items() if left(*k)}

@call_parse
def main(teacher:str, data:Param('folder with train/ and test/', str, opt=False, nargs='?')=None, out:str='nbs/results/stages.csv',
         keep:str='0.9,0.75,0.6,0.5,0.4', # fractions of the teacher's MACs
         n:str='50,500', seeds:str='0,1,2'):
    "Write a row for each budget, number of images, seed and stage"
    m,cfg,source,x,y = load(teacher, data); net,t = read(m),logits(m, x)
    done = pd.read_csv(out) if Path(out).exists() else pd.DataFrame()
    for seed in nums(seeds, int):
        for count in nums(n, int):
            if len(done) and len(done.query('n==@count and seed==@seed')): continue
            few,rows = few_shot(source, cfg, count, seed),[]
            stats = statistics(m, net, *split(few)); px = torch.cat([*Batches(few, spread(count, 64))])
            table = loss_table(net, stats, probe(m, net, stats, px, progress=False))
            for q in nums(keep):
                b = budget(net, keep_macs=q)
                s = search(m, net, stats, table, prices(net, b), b.target, px, dict(uniform=uniform(net, b))).structure
                solved = assemble(m, net, s, stats)
                stages = {'surgery alone': logits(prune(m, s, picked(net, s, stats), net=net), x), 'solved': logits(solved, x)}
                refit(solved, m, few, net); stages['refit'] = logits(solved, x)
                rows += [dict(n=count, seed=seed, keep=q, stage=k, top1=top1(v, y), agreement=agreement(t, v), kl=kl(t, v)) for k,v in stages.items()]
                print(count, seed, q, {r['stage']: round(r['top1'], 2) for r in rows[-3:]}, flush=True)
            done = pd.concat([done, pd.DataFrame(rows)]); done.to_csv(out, index=False)
