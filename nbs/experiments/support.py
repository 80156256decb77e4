"""Which of timm's architecture families are supported, and how: one small model of each, built with random weights.

A family is a module of timm.models. Its representative is its smallest supported model among the `tries` smallest.

python nbs/experiments/support.py --out nbs/results/support.csv
"""

import collections
import warnings

import pandas as pd
import timm
import torch
from fastcore.script import call_parse
from timm.models._registry import _model_to_module

import dcvit
from dcvit.model.reading import read


def by_size(names):
    "Models by number of parameters, built without memory"
    found = []
    for name in names:
        try:
            with torch.device('meta'):
                model = timm.create_model(name)
        except Exception:  # a few build constants that the meta device does not have
            continue
        found.append((sum(p.numel() for p in model.parameters()), name))
    return [name for _, name in sorted(found)]


def row(name):
    "What can be done with one model"
    try:
        net = read(timm.create_model(name).eval())
    except dcvit.DcvitError as e:
        return dict(model=name, supported=False, reason=str(e).split('; known are')[0])
    mixers = [b.mixer for b in net.blocks]
    mlps = [b.mlp for b in net.blocks]
    return dict(
        model=name,
        supported=True,
        blocks=len(net),
        mixer_removed=sum(bool(m.units and m.optional) for m in mixers),
        heads=sum(m.units > 1 for m in mixers),
        narrowed=sum(m.units > 1 for m in mlps),
        dropped=sum(b.droppable for b in net.blocks),
        in_blocks=1 - net.rest.macs / net.total.macs,
        kinds=net.label,
    )


def representative(names, tries):
    "The first supported model among the smallest, or the smallest"
    tested = []
    for name in by_size(names)[:tries]:
        tested.append(row(name))
        if tested[-1]['supported']:
            return tested[-1]
    return tested[0]


def families():
    "Names of models by module"
    found = collections.defaultdict(list)
    for name in timm.list_models():
        found[_model_to_module[name]].append(name)
    return found


@call_parse
def main(out: str = 'nbs/results/support.csv', tries: int = 4):
    "Write one row for each family"
    warnings.filterwarnings('ignore')
    rows = []
    for family, names in sorted(families().items()):
        rows.append(dict(family=family, models=len(names), **representative(names, tries)))
        print(family, rows[-1]['supported'], rows[-1]['model'], flush=True)
    pd.DataFrame(rows).to_csv(out, index=False)
