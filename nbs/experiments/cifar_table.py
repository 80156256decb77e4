"""Accuracy against MACs on a CIFAR-10 teacher: DC-ViT next to dropping whole blocks, chosen and recovered the same way.

TEACHER.json names a timm model (see `dcvit.load_teacher`), DATA has train/ and test/ with one folder per class.

python nbs/experiments/cifar_table.py TEACHER.json DATA --out nbs/results/cifar.csv
"""
import shutil, tempfile, time
from dataclasses import replace
from pathlib import Path
import pandas as pd, torch
from fastcore.script import call_parse, Param
import dcvit
from dcvit.data import data_config, few_shot, image_files, labelled, normalise
from dcvit.inversion import invert
from dcvit.measure import agreement, kl, logits, top1
from dcvit.recipe import get_recipe

@call_parse
def main(teacher:str, data:str,
         out:str='nbs/results/cifar.csv', # finished rows are kept and not run again
         keep:str='0.917,0.834,0.75,0.6,0.5', # fractions of the teacher's MACs
         n:str='50,500',         # few-shot images
         seeds:str='0,1',
         spaces:str='paper,blocks', # 'auto' for the recipes fast and closed-form
         trial:int=12,           # steps of each trial (the paper: 2000 epochs)
         step:int=30,            # steps of each progressive step (likewise)
         lr:float=1e-3,          # tuned once for this model
         iters:int=200,          # inversion steps (the paper: 2000)
         recipe:str='paper', device:str='cpu'):
    "Run every combination and append a row for each"
    nums = lambda s,t=float: [t(v) for v in s.split(',')]
    m = dcvit.load_teacher(teacher); cfg = data_config(m)
    px,y = labelled(f'{data}/test', cfg, 10); x = normalise(px, cfg); t_logits = logits(m, x)
    files,done = image_files(f'{data}/train'), pd.read_csv(out) if Path(out).exists() else pd.DataFrame()
    for seed in nums(seeds, int):
        S = None
        for count in nums(n, int):
            few = few_shot(files, cfg, count, seed)
            for space in spaces.split(','):
                shared_trials = tempfile.mkdtemp() # trials of dropped blocks do not depend on the budget
                for q in nums(keep):
                    if len(done) and len(done.query('n==@count and seed==@seed and space==@space and keep==@q and recipe==@recipe')): continue
                    if S is None and recipe=='paper': S = invert(m, cfg, iters=iters, warmup=iters//20, seed=seed, device=device, progress=False)
                    r = get_recipe(recipe)
                    if recipe=='paper': r = replace(r, unit='step', trial_length=trial, step_length=step, lr=lr)
                    run = Path(tempfile.mkdtemp())
                    if space=='blocks': shutil.copytree(shared_trials, run/'trials', dirs_exist_ok=True)
                    t = time.time()
                    res = dcvit.compress(m, few.images, keep_macs=q, recipe=replace(r, space=space), metric_set=S, seed=seed, device=device, run_dir=run, timing=False, progress=False)
                    seconds = time.time()-t
                    if space=='blocks': shutil.copytree(run/'trials', shared_trials, dirs_exist_ok=True)
                    shutil.rmtree(run)
                    s,c = logits(res.model, x), res.report['student']
                    row = dict(recipe=recipe, space=space, n=count, seed=seed, keep=q, reached=c['keep_macs'], params=c['params'], top1=top1(s,y), agreement=agreement(t_logits,s), kl=kl(t_logits,s), top1_teacher=top1(t_logits,y),
                        few_shot_before=res.report['fidelity']['few_shot']['agreement_before'], k=len(res.report['chosen']), chosen=' '.join(map(str,res.report['chosen'])), trial=r.trial_length, step=r.step_length, lr=r.lr, seconds=round(seconds,1), device=device)
                    done = pd.concat([done, pd.DataFrame([row])]); done.to_csv(out, index=False)
                    print({k: round(v,4) if isinstance(v,float) else v for k,v in row.items() if k in ('space','n','seed','keep','reached','top1','agreement','chosen','seconds')}, flush=True)
