"""How long a family takes, how large it is, and how good its students are. Needs a quiet machine for the times.

python nbs/experiments/family_times.py TEACHER.json DATA --out nbs/results/family_cifar
"""
import json, tempfile, time
from pathlib import Path
import torch
from fastcore.script import call_parse, Param
from budget_table import load
import dcvit
from dcvit.data import few_shot, spread
from dcvit.measure import logits, top1

@call_parse
def main(teacher:str, data:Param('folder with train/ and test/', str, opt=False, nargs='?')=None, out:str='nbs/results/family', n:int=500, seed:int=0, budgets:int=100, images:int=1000):
    "Write OUT.json and OUT_curve.csv"
    m,cfg,source,x,y = load(teacher, data); i = spread(len(x), images); x,y = x[i],y[i]; few = few_shot(source, cfg, n, seed)
    t = time.time(); fam = dcvit.family(m, few.images or few.pixels, budgets=(.4,.95), seed=seed, progress=False); made = time.time()-t
    folder = Path(fam.save(tempfile.mkdtemp())); size = sum(f.stat().st_size for f in folder.iterdir())
    fam = dcvit.load_family(folder); at = {}
    for q in (.9,.75,.6,.5,.4): t = time.time(); s = fam.at(keep_macs=q); at[q] = dict(seconds=time.time()-t, top1=top1(logits(s, x), y)); print(q, at[q], flush=True)
    t = time.time(); df = fam.curve(budgets, batch=64, progress=False); predicted = time.time()-t
    t = time.time(); [fam.at(keep_macs=float(q)) for q in df.keep_macs]; students = time.time()-t
    df = fam.curve(budgets//4, images=x, labels=y, polish=True, progress=False); df.to_csv(f'{out}_curve.csv', index=False)
    rep = dict(made=made, phases=fam.report['seconds'], bytes=size, teachers=size/sum(p.nbytes for p in m.parameters()), at=at, predicted_curve=predicted, all_students=students, budgets=budgets, threads=torch.get_num_threads())
    Path(f'{out}.json').write_text(json.dumps(rep, indent=1)); print(rep)
