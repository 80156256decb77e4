"""Latency budgets, and latency of the structures that other tables found. Needs a quiet machine.

python nbs/experiments/milliseconds.py TEACHER.json DATA --tables nbs/results/cifar_search.csv,nbs/results/cifar.csv --out nbs/results/ms_cifar
"""
import pandas as pd
from fastcore.script import call_parse, Param
from budget_table import load
from common import from_text, to_text
import dcvit
from dcvit.blocks import input_shape, read
from dcvit.data import few_shot
from dcvit.measure import latency, logits, top1
from dcvit.surgery import prune

def ratio(m, student, batch, seconds): return latency(dict(teacher=m, student=student), input_shape(m), batch, seconds=seconds)['student']

@call_parse
def main(teacher:str, data:Param('folder with train/ and test/', str, opt=False, nargs='?')=None,
         tables:str='', out:str='nbs/results/ms', n:int=500,
         seeds:str='0,1,2', # of the latency budgets; '' leaves them out
         again:bool=False,  # time the structures of OUT_budget.csv once more: how far timings of one student differ
         keep:float=.7, batches:str='64,1', seconds:float=4):
    "Write OUT_rows.csv (latency of structures in the tables) and OUT_budget.csv (latency budgets against MACs budgets)"
    m,cfg,source,x,y = load(teacher, data); net = read(m); rows = []
    for f in filter(None, tables.split(',')):
        for _,r in pd.read_csv(f).query('seed==0 and n==@n').iterrows():
            l = ratio(m, prune(m, from_text(r.blocks), net=net), 64, 1.)
            rows.append(dict(recipe=r.recipe, space=r.space, keep=r.keep, ratio=l['ratio'], ratio_low=l['ratio_low'], ratio_high=l['ratio_high'], top1=r.top1)); print(rows[-1], flush=True)
    if rows: pd.DataFrame(rows).to_csv(f'{out}_rows.csv', index=False)
    rows = []
    for seed in map(int, filter(None, seeds.split(','))):
        few = few_shot(source, cfg, n, seed); kw = dict(recipe='closed-form', seed=seed, timing=False, progress=False)
        fam = dcvit.family(m, few.images, budgets=(.3,.95), seed=seed, progress=False) # for structures only
        for batch in map(int, batches.split(',')):
            a = dcvit.compress(m, few.images, keep_latency=keep, latency_batch=batch, **kw)
            got,lo,hi,best = ratio(m, a.model, batch, seconds),.3,.99,None
            for _ in range(6): # the MACs budget whose student takes as long
                q = (lo+hi)/2; l = ratio(m, prune(m, fam.structure(keep_macs=q), net=net), batch, seconds)
                if best is None or abs(l['ratio']-got['ratio'])<abs(best[0]-got['ratio']): best = l['ratio'],q
                lo,hi = (q,hi) if l['ratio']<got['ratio'] else (lo,q)
            b = dcvit.compress(m, few.images, keep_macs=best[1], **kw); best = ratio(m, b.model, batch, seconds)['ratio'],best[1],b
            met = a.report['latency_budget']; unit = met['measured_ms']/met['ratio'] # the teacher's ms
            rows.append(dict(batch=batch, seed=seed, asked=keep, measured=got['ratio'], predicted=met['predicted_ms']/unit, table=met['table_ms']/unit,
                keep_macs=a.report['student']['keep_macs'], top1=top1(logits(a.model, x), y), same_latency=best[0], same_keep_macs=best[1], same_top1=top1(logits(best[2].model, x), y), blocks=to_text(a.structure))); print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(f'{out}_budget.csv', index=False)
    if again:
        df = pd.read_csv(f'{out}_budget.csv')
        df['again'] = [ratio(m, prune(m, from_text(b), net=net), batch, seconds)['ratio'] for b,batch in zip(df.blocks, df.batch)]
        df.to_csv(f'{out}_budget.csv', index=False); print(df[['batch','seed','measured','again']])
