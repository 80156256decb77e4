"""Accuracy against MACs on a CIFAR-10 teacher: DC-ViT next to dropping whole blocks, chosen and recovered the same way.

python nbs/experiments/cifar_table.py TEACHER.json --data CIFAR --out nbs/results/cifar_d128.csv
"""
import time
from dataclasses import replace
from pathlib import Path
import pandas as pd, torch
from fastcore.script import call_parse
import dcvit
from dcvit.data import data_config, labelled, normalise, few_shot, image_files
from dcvit.recipe import get_recipe
from dcvit.inversion import invert

@call_parse
def main(teacher:str,            # JSON file that describes the teacher
         data:str,               # folder with train/ and test/
         out:str,                # CSV; finished rows are kept and not run again
         keep:str='0.917,0.834,0.75,0.6,0.5', # fractions of the teacher's MACs
         n:str='50,500',         # few-shot images
         seeds:str='0,1',
         spaces:str='paper,blocks',
         epochs:str='2000,400',  # epochs per trial and per step, one for each n
         lr:float=3e-4,          # the one number tuned for this model
         views:int=200,          # augmented views per image
         iters:int=2000,         # inversion steps
         recipe:str='paper',
         device:str='cuda', workers:int=12):
    "Run every combination and append a row for each"
    nums = lambda s,t=float: [t(v) for v in s.split(',')]
    m = dcvit.load_teacher(teacher); cfg = data_config(m)
    px,y = labelled(f'{data}/test', cfg, 10); test = normalise(px, cfg), y
    files = image_files(f'{data}/train')
    done = pd.read_csv(out) if Path(out).exists() else pd.DataFrame()
    for seed in nums(seeds, int):
        S = invert(m.to(device), cfg, iters=iters, warmup=iters//20, seed=seed, device=device, progress=False); m.cpu()
        print(f'seed {seed}: metric set on target {(m(S.images).argmax(1)==S.targets).float().mean():.2f}', flush=True)
        for count,ep in zip(nums(n,int), nums(epochs,int)):
            few = few_shot(files, cfg, count, seed)
            for space in spaces.split(','):
                for q in nums(keep):
                    if len(done) and len(done.query('n==@count and seed==@seed and space==@space and keep==@q and recipe==@recipe')): continue
                    r = get_recipe(recipe)
                    if recipe=='paper': r = replace(r, trial_length=ep, step_length=ep, lr=lr, views=views)
                    t = time.time()
                    res = dcvit.compress(m, few.images, keep_macs=q, recipe=replace(r, space=space), metric_set=S, labelled=test, seed=seed, device=device, workers=workers, timing=False, progress=False)
                    f,c = res.report['fidelity']['labelled'], res.report['student']
                    row = dict(recipe=recipe, space=space, n=count, seed=seed, keep=q, reached=c['keep_macs'], params=c['params'], top1=f['top1_student'], agreement=f['agreement'], kl=f['kl'],
                        top1_teacher=f['top1_teacher'], k=len(res.report['chosen']), chosen=' '.join(map(str,res.report['chosen'])), epochs=r.trial_length, unit=r.unit, lr=r.lr, seconds=time.time()-t, device=device)
                    done = pd.concat([done, pd.DataFrame([row])]); done.to_csv(out, index=False)
                    print({k: round(v,4) if isinstance(v,float) else v for k,v in row.items() if k in ('space','n','seed','keep','reached','top1','agreement','chosen','seconds')}, flush=True)
