"""Accuracy against MACs: any recipe and space, several budgets, image counts and seeds.

TEACHER is 'demo' or a JSON file that names a timm model (see `dcvit.load_teacher`), DATA has train/ and test/ with one folder per class.

python nbs/experiments/budget_table.py TEACHER.json DATA --recipe closed-form --spaces search,uniform --out nbs/results/cifar_search.csv
python nbs/experiments/budget_table.py demo --recipe paper --spaces paper,blocks --out nbs/results/digits.csv
"""
import shutil, tempfile, time
from dataclasses import replace
from pathlib import Path
import pandas as pd
from fastcore.script import call_parse, Param
import dcvit
from dcvit.data import data_config, demo_data, few_shot, image_files, labelled, normalise
from dcvit.compress import inversion_with
from dcvit.inversion import invert, synthetic
from dcvit.measure import logits, top1
from dcvit.recipe import get_recipe
from common import finished, scores, to_text

def load(teacher, data):
    m = dcvit.load_teacher(teacher).requires_grad_(False); cfg = data_config(m)
    if data is None: d = demo_data(); return m, cfg, d['train'], normalise(d['test'], cfg), d['test_y']
    px,y = labelled(f'{data}/test', cfg, m.num_classes)
    return m, cfg, image_files(f'{data}/train'), normalise(px, cfg), y

def nums(s, t=float): return [t(v) for v in s.split(',')]

@call_parse
def main(teacher:str,
         data:Param('folder with train/ and test/', str, opt=False, nargs='?')=None,
         out:str='nbs/results/budgets.csv', # finished rows are kept and not run again
         keep:str='0.9,0.75,0.6,0.5,0.4', # fractions of the teacher's MACs
         n:str='50,500',         # few-shot images
         seeds:str='0,1,2',
         recipe:str='closed-form',
         spaces:str='search',    # 'paper', 'blocks', 'search' or 'uniform'
         images:str=None,        # 'synthetic': inverted images instead of real ones
         trial:int=12,           # for the paper: steps of each trial (there: 2000 epochs)
         step:int=30,            # and of each progressive step (likewise)
         lr:float=1e-3, iters:int=200, device:str='cpu'):
    "Run every combination and append a row for each"
    m,cfg,source,x,y = load(teacher, data); t_logits = logits(m, x)
    done = finished(out)
    for seed in nums(seeds, int):
        S = None
        for count in nums(n, int):
            few = few_shot(source, cfg, count, seed) if images is None else synthetic(m, cfg, count, seed, progress=False, **inversion_with(get_recipe(recipe)))
            for space in spaces.split(','):
                shared_trials = tempfile.mkdtemp() # trials of dropped blocks do not depend on the budget
                for q in nums(keep):
                    kind = images or 'real'
                    if len(done) and len(done.query('n==@count and seed==@seed and space==@space and keep==@q and recipe==@recipe and images==@kind')): continue
                    if S is None and recipe=='paper': S = invert(m, cfg, iters=iters, warmup=iters//20, seed=seed, device=device, progress=False)
                    r = replace(get_recipe(recipe), space=space)
                    if recipe=='paper': r = replace(r, unit='step', trial_length=trial, step_length=step, lr=lr, **({} if few.images else dict(augment='none')))
                    run = Path(tempfile.mkdtemp())
                    if space=='blocks': shutil.copytree(shared_trials, run/'trials', dirs_exist_ok=True)
                    t = time.time()
                    try: res = dcvit.compress(m, few.images or few.pixels, n=count, keep_macs=q, recipe=r, metric_set=S, seed=seed, device=device, run_dir=run, timing=False, progress=False)
                    except dcvit.DcvitError as e: print(f'{space} {q}: {e}', flush=True); continue
                    seconds = time.time()-t
                    if space=='blocks': shutil.copytree(run/'trials', shared_trials, dirs_exist_ok=True)
                    shutil.rmtree(run)
                    s,c,fid = logits(res.model, x), res.report['student'], res.report['fidelity']['few_shot']
                    row = dict(recipe=recipe, space=space, images=kind, n=count, seed=seed, keep=q, reached=c['keep_macs'], params=c['params'], **scores(t_logits, s, y), top1_teacher=top1(t_logits,y),
                        agreement_before=fid['agreement_before'], seconds=round(seconds,1), blocks=to_text(res.structure), device=device)
                    done = pd.concat([done, pd.DataFrame([row])]); done.to_csv(out, index=False)
                    print({k: round(v,4) if isinstance(v,float) else v for k,v in row.items() if k in ('recipe','space','n','seed','keep','reached','top1','agreement','seconds')}, flush=True)
