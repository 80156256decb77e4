"""Choose the numbers of the `fast` recipe: what to remove, which neurons to keep, how to recover, at half of the MACs.

Scored on held-out unlabeled images by agreement with the teacher; no label and no test image is used.

python nbs/experiments/choose_fast.py demo --out nbs/results/fast_digits.csv
python nbs/experiments/choose_fast.py TEACHER.json DATA --out nbs/results/fast_cifar.csv
"""
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
import pandas as pd, torch
from fastcore.script import call_parse, Param
import dcvit
from dcvit.blocks import read
from dcvit.compress import decide
from dcvit.data import FewShot, Views, data_config, demo_data, few_shot, image_files
from dcvit.measure import agreement, kl, logits
from dcvit.recipe import get_recipe
from dcvit.recovery import Targets, mimic, refit
from dcvit.structure import Structure, budget, whole
from dcvit.surgery import prune
from dcvit.trial import choose_neurons

@call_parse
def main(teacher:str, data:Param('folder with train/', str, opt=False, nargs='?')=None,
         out:str='nbs/results/fast_digits.csv',
         keep:float=.5, n:str='50,500', held:int=400,
         lrs:str='3e-4,1e-3,3e-3', steps:str='40,80,160', seed:int=0):
    "Run all variants and write a row for each"
    m = dcvit.load_teacher(teacher); cfg,net = data_config(m),read(m)
    source = image_files(f'{data}/train') if data else demo_data()['train']
    fast,rows = get_recipe('fast'),[]
    for count in map(int, n.split(',')):
        both = few_shot(source, cfg, count+held, seed)
        order = torch.randperm(count+held, generator=torch.Generator().manual_seed(seed)).tolist() # files come sorted by class
        ids,rest = order[:count],order[count:]
        few,x = FewShot(both.pixels[ids], [both.images[i] for i in ids], cfg), FewShot(both.pixels[rest], [], cfg).tensor
        t_logits = logits(m, x)
        def note(s, t, **kw):
            a = logits(s, x)
            rows.append(dict(n=count, seed=seed, agreement=agreement(t_logits,a), kl=kl(t_logits,a), seconds=time.time()-t, **kw))
            pd.DataFrame(rows).to_csv(out, index=False); print(rows[-1], flush=True)
        for space,which in (('paper','random'),('paper','active'),('mlp','random'),('mlp','active')):
            _,k,lefts = decide(net, budget(net, keep_macs=keep), replace(fast, space=space))
            gone = sorted(lefts, key=lambda i: -i)[:k] # without trials: the last candidates, the most redundant here
            s = whole(net)
            for i in gone: s = s.set(i, lefts[i])
            student = prune(m, s, choose_neurons(m, lefts, few.tensor, which, seed))
            note(student, time.time(), structure=space, neurons=which, recovery='none', steps=0)
            t = time.time(); refit(student, m, few.tensor)
            note(student, t, structure=space, neurons=which, recovery='refit', steps=0)
        for aug in ('none', fast.augment): # the last student: every MLP, active neurons, refitted
            targets = Targets(m, Views(few, aug, seed=seed, cache_mb=2000), cache_mb=2000)
            for length in map(int, steps.split(',')):
                for lr in map(float, lrs.split(',')):
                    if length!=80 and (lr!=1e-3 or aug=='none'): continue
                    s,t = deepcopy(student),time.time()
                    mimic(s, targets, last=len(net)-1, length=length, unit='step', lr=lr, seed=seed, progress=False)
                    note(s, t, structure='mlp', neurons='active', recovery='refit, then mimic', steps=length, lr=lr, augment=aug)
