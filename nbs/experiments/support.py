"""Which of timm's architecture families are supported, and how: one small model of each, built with random weights.

A family is a module of timm.models. Its representative is the smallest model that is supported, among its `tries` smallest.

python nbs/experiments/support.py --out nbs/results/support.csv
"""
import collections, warnings
import pandas as pd, timm, torch
from fastcore.script import call_parse
from timm.models._registry import _model_to_module
from dcvit.blocks import DcvitError, read

def sizes(names):
    "Models by number of parameters, built without memory"
    res = []
    for n in names:
        try:
            with torch.device('meta'): m = timm.create_model(n)
        except Exception: continue # a few build constants that the meta device does not have
        res.append((sum(p.numel() for p in m.parameters()), n))
    return [n for _,n in sorted(res)]

def row(name):
    try: net = read(timm.create_model(name).eval())
    except DcvitError as e: return dict(model=name, supported=False, reason=str(e).split('; known are')[0])
    bs = net.blocks
    return dict(model=name, supported=True, blocks=len(bs), mixer_removed=sum(bool(b.mixer.units and b.mixer.optional) for b in bs), heads=sum(b.mixer.units>1 for b in bs),
                narrowed=sum(b.mlp.units>1 for b in bs), dropped=sum(b.droppable for b in bs), in_blocks=1-net.rest.macs/net.total.macs, kinds=net.family)

@call_parse
def main(out:str='nbs/results/support.csv', tries:int=4):
    "Write one row for each family"
    warnings.filterwarnings('ignore')
    families = collections.defaultdict(list)
    for n in timm.list_models(): families[_model_to_module[n]].append(n)
    rows = []
    for f,names in sorted(families.items()):
        tested = []
        for n in sizes(names)[:tries]:
            tested.append(row(n))
            if tested[-1]['supported']: break
        rows.append(dict(family=f, models=len(names), **(tested[-1] if tested[-1]['supported'] else tested[0])))
        print(rows[-1]['family'], rows[-1].get('supported'), rows[-1]['model'], flush=True)
    pd.DataFrame(rows).to_csv(out, index=False)
