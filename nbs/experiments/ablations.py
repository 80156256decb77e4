"""The paper's claims about its own parts, on one teacher.

python nbs/experiments/ablations.py demo --out nbs/results/ablation_digits
python nbs/experiments/ablations.py TEACHER.json DATA --out nbs/results/ablation_cifar
"""
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
import pandas as pd, torch
from fastcore.script import call_parse, Param
import dcvit
from dcvit.blocks import read
from dcvit.data import data_config, demo_data, few_shot, image_files, labelled, normalise, Views
from dcvit.inversion import invert
from dcvit.measure import kl, logits
from dcvit.progressive import progressive
from dcvit.recipe import Recipe
from dcvit.recovery import Targets
from dcvit.structure import budget, candidates, compressed, plan
from dcvit.trial import choose_neurons, trial
from dcvit.surgery import edit_block
from common import scores

def trials(m, net, targets, few, S, x, y, r, r_d, seed):
    "Every block alone: what each score says, and the accuracy that followed"
    rows,t_few,t_test = [],logits(m, few.tensor),logits(m, x)
    for i in range(len(net)):
        left = compressed(net, [i], r_d)[i]
        keep = choose_neurons(net, {i: left}, seed)
        t = trial(m, net, i, left, targets, S, r, keep, seed, progress=False)
        s = deepcopy(m); edit_block(s, net.blocks[i], left, keep[i,'mlp']); s.load_state_dict(t.weights, strict=False)
        a = logits(s, x)
        rows.append(dict(block=i, seed=seed, r_d=r_d, on_metric_set=t.score, before=t.before, on_few_shot=kl(t_few, logits(s, few.tensor)), mimic_loss=t.losses[-1].item(), **scores(t_test, a, y)))
        print(rows[-1], flush=True)
    return rows

def variants(m, net, targets, x, y, r, r_d, order, seed):
    "Progressive pruning of the same blocks under each choice"
    rows,t_test = [],logits(m, x)
    lefts = {i: compressed(net, [i], r_d)[i] for i in order}
    keep = choose_neurons(net, lefts, seed)
    for name,kw in {'all tokens, front':{}, 'class token, front':dict(tokens='cls'), 'all tokens, everything':dict(update='all')}.items():
        v,t0 = replace(r, **kw),time.time()
        first = trial(m, net, order[0], lefts[order[0]], targets, x[:8], v, keep, seed, progress=False)
        s,_ = progressive(m, net, order, lefts, first.weights, targets, v, keep, seed, progress=False)
        seconds,a = time.time()-t0,logits(s, x)
        rows.append(dict(variant=name, seed=seed, k=len(order), r_d=r_d, **scores(t_test, a, y), seconds=seconds))
        print(rows[-1], flush=True)
    return rows

@call_parse
def main(teacher:str, data:Param('folder with train/ and test/', str, opt=False, nargs='?')=None,
         out:str='nbs/results/ablation_digits', # two tables: OUT_trials.csv and OUT_variants.csv
         n:int=50,               # few-shot images
         seeds:str='0,1,2',
         trial_steps:int=100, step_steps:int=100, lr:float=1e-3, iters:int=400,
         keep:float=.5,          # budget of the variants
         trial_r_d:float=.5,     # drop ratio of the trials
         test:int=None):         # test images to use; default all
    "Run both ablations"
    m = dcvit.load_teacher(teacher); cfg,net = data_config(m),read(m)
    if data: (px,y),source = labelled(f'{data}/test', cfg),image_files(f'{data}/train')
    else: d = demo_data(); px,y,source = d['test'],d['test_y'],d['train']
    if test: idx = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[:test]; px,y = px[idx],y[idx]
    x = normalise(px, cfg)
    r = Recipe(unit='step', trial_length=trial_steps, step_length=step_steps, lr=lr)
    ts,vs = [],[]
    for seed in map(int, seeds.split(',')):
        few = few_shot(source, cfg, n, seed)
        targets = Targets(m, Views(few, r.augment, r.jitter, r.views, seed, cache_mb=2000))
        S = invert(m, cfg, iters=iters, warmup=iters//20, seed=seed, progress=False)
        sure = (m(S.images).argmax(1)==S.targets).float().mean().item()
        print(f'seed {seed}: {sure:.0%} of the metric set is seen as asked', flush=True)
        ts += [dict(row, metric_set_hit=sure) for row in trials(m, net, targets, few, S.images, x, y, r, trial_r_d, seed)]
        pd.DataFrame(ts).to_csv(f'{out}_trials.csv', index=False)
        b,cands = budget(net, keep_macs=keep),candidates(net)
        p = plan(net, b, cands)
        order = [t['block'] for t in sorted(ts[-len(net):], key=lambda t: t['on_metric_set']) if t['block'] in cands][:p.k]
        vs += variants(m, net, targets, x, y, r, p.r_d, order, seed)
        pd.DataFrame(vs).to_csv(f'{out}_variants.csv', index=False)
