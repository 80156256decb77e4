"""What the search rests on, on one teacher: which units to keep, error curves of every block, and whether single losses add up.

python nbs/experiments/search_study.py TEACHER.json DATA --out nbs/results/search_cifar
"""
from dataclasses import replace
import numpy as np, pandas as pd, torch
from fastcore.script import call_parse, Param
from budget_table import load
from dcvit.blocks import read
from dcvit.data import Batches, few_shot, spread
from dcvit.measure import logits, metric_loss, top1
from dcvit.refit import refit, split
from dcvit.search import best, loss_table, powers, prices, probe
from dcvit.structure import budget, uniform
from dcvit.units import assemble, statistics

def orders(m, net, stats):
    "Orders of the hidden neurons: by chance, by one neuron at a time, by leverage, and by the regression"
    res = {n: {} for n in ('random','magnitude','active','leverage','greedy')}
    for b in net.blocks:
        k,block = (b.index,'mlp'),m.get_submodule(b.name); s = stats[k]
        w1,w2 = (block.get_submodule(n).weight.double() for n in ('mlp.fc1','mlp.fc2'))
        v = s.G.diagonal().mean()
        by = dict(random=torch.rand(len(s.G), generator=torch.Generator().manual_seed(b.index)), magnitude=w1.pow(2).sum(1)*w2.pow(2).sum(0), active=s.G.diagonal()*w2.pow(2).sum(0),
                  leverage=(torch.linalg.inv(s.G+1e-2*v*torch.eye(len(s.G)))@s.G).diagonal())
        for n,score in by.items(): res[n][k] = score.argsort(descending=True)
        res['greedy'][k] = s.order
    return res

@call_parse
def main(teacher:str,
         data:Param('folder with train/ and test/', str, opt=False, nargs='?')=None,
         out:str='nbs/results/search', n:int=500, seed:int=0,
         keep:str='0.6,0.4', structures:int=30, # random structures at each budget
         images:int=1000): # test images for the comparison
    "Write OUT_units.csv, OUT_curves.csv, OUT_ranking.csv and OUT_candidates.csv"
    m,cfg,source,x,y = load(teacher, data); net = read(m)
    i = spread(len(x), images); x,y = x[i],y[i]; t = logits(m, x)
    few = few_shot(source, cfg, n, seed)
    stats = statistics(m, net, *split(few))
    sizes = lambda u: sorted({max(1, round(u*j/32)) for j in range(1,33)})
    pd.DataFrame([dict(block=i, part=w, units=k, share=s.error(k)/s.total, total=s.total) for (i,w),s in stats.items() for k in sizes(len(s.order))]).to_csv(f'{out}_curves.csv', index=False)
    rows = []
    for q in map(float, keep.split(',')):
        thin = uniform(net, budget(net, keep_macs=q))
        for name,order in orders(m, net, stats).items():
            st = {k: replace(s, order=order[k]) for k,s in stats.items() if k[1]=='mlp'}; a = assemble(m, net, thin, st)
            row = dict(keep=q, neurons=name, solved_top1=top1(logits(a, x), y), solved_kl=metric_loss(t, logits(a, x)))
            refit(a, m, few, net); rows.append(dict(row, refit_top1=top1(logits(a, x), y), refit_kl=metric_loss(t, logits(a, x)))); print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(f'{out}_units.csv', index=False)
    px = torch.cat([*Batches(few, spread(n, 64))]); tp = logits(m, px)
    losses = loss_table(net, stats, probe(m, net, stats, px, progress=False))
    kept = lambda s,k: s[k[0]].heads if k[1]=='mixer' else s[k[0]].hidden
    rng,rows,cands = np.random.default_rng(seed),[],[]
    for q in map(float, keep.split(',')):
        b = budget(net, keep_macs=q); pr = prices(net, b)
        measured = lambda s: dict(zip(('few','test','top1'), (lambda st: (metric_loss(tp, logits(st, px)), metric_loss(t, logits(st, x)), top1(logits(st, x), y)))(assemble(m, net, s, stats))))
        for j in range(structures):
            s = best(net, {k: l*np.exp(rng.normal(0, 3)) for k,l in losses.items()}, pr, b.target)
            rows.append(dict(keep=q, sum=sum(losses[k][kept(s, k)] for k in losses), **measured(s))); print(rows[-1], flush=True)
        for name,s in [*((f'sum of loss^{p}', best(net, losses, pr, b.target, p)) for p in powers), ('uniform', uniform(net, b))]:
            cands.append(dict(keep=q, candidate=name, sum=sum(losses[k][kept(s, k)] for k in losses), **measured(s))); print(cands[-1], flush=True)
    pd.DataFrame(rows).to_csv(f'{out}_ranking.csv', index=False); pd.DataFrame(cands).to_csv(f'{out}_candidates.csv', index=False)
