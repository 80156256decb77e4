"""Choose the numbers of the `fast` recipe: recovery of the same blocks under different learning rates, lengths and augmentation.

Scored on held-out unlabeled images by agreement with the teacher; no label and no test image is used.

python nbs/experiments/choose_fast.py demo --out nbs/results/fast_digits.csv
python nbs/experiments/choose_fast.py TEACHER.json DATA --out nbs/results/fast_cifar.csv
"""
import time
from pathlib import Path
import pandas as pd
from fastcore.script import call_parse, Param
import dcvit
from dcvit.blocks import read
from dcvit.data import FewShot, Views, data_config, demo_data, few_shot, image_files
from dcvit.measure import agreement, kl, logits
from dcvit.progressive import progressive
from dcvit.recipe import Recipe
from dcvit.recovery import Targets
from dcvit.structure import budget, candidates, compressed, plan
from dcvit.trial import trial

@call_parse
def main(teacher:str, data:Param('folder with train/', str, opt=False, nargs='?')=None,
         out:str='nbs/results/fast_digits.csv', # finished rows are kept
         keep:float=.6, n:str='50', held:int=400,
         lrs:str='3e-4,1e-3,3e-3', steps:str='30,80', augments:str='none,rand-m9-mstd0.5-inc1', seed:int=0):
    "Run the grid and append a row for each point"
    m = dcvit.load_teacher(teacher); cfg,net = data_config(m),read(m)
    source = image_files(f'{data}/train') if data else demo_data()['train']
    done = pd.read_csv(out) if Path(out).exists() else pd.DataFrame()
    b = budget(net, keep_macs=keep); p = plan(net, b, candidates(net))
    order = candidates(net)[-p.k:][::-1] # the same blocks throughout: this compares recoveries, not rankings
    lefts = {i: compressed(net, [i], p.r_d)[i] for i in order}
    for count in map(int, n.split(',')):
        both = few_shot(source, cfg, count+held, seed)
        ids = list(range(0, count+held, (count+held)//count))[:count]
        rest = [i for i in range(count+held) if i not in ids]
        few,x = FewShot(both.pixels[ids], [both.images[i] for i in ids], cfg), FewShot(both.pixels[rest], [], cfg).tensor
        t_logits = logits(m, x)
        for aug in augments.split(','):
            targets = Targets(m, Views(few, aug, seed=seed, cache_mb=2000), cache_mb=2000)
            for length in map(int, steps.split(',')):
                for lr in map(float, lrs.split(',')):
                    if len(done) and len(done.query('n==@count and augment==@aug and steps==@length and lr==@lr and seed==@seed')): continue
                    r,t = Recipe(unit='step', trial_length=length, step_length=length, lr=lr),time.time()
                    first = trial(m, order[0], lefts[order[0]], targets, x[:8], r, seed, progress=False)
                    s,losses = progressive(m, order, lefts, first.weights, targets, r, seed, progress=False)
                    seconds,a = time.time()-t,logits(s, x)
                    done = pd.concat([done, pd.DataFrame([dict(n=count, seed=seed, augment=aug, steps=length, lr=lr, agreement=agreement(t_logits,a), kl=kl(t_logits,a), loss=losses[-1][-1], seconds=seconds)])])
                    done.to_csv(out, index=False); print(done.iloc[-1].to_dict(), flush=True)
