"""A plain transformer narrowed by Torch-Pruning, and trained on the teacher's labels of a few images.

`pip install torch-pruning`. Every layer is narrowed by one ratio, its own default, heads inside and states included;
what goes is found by group magnitude, or by a Taylor expansion of the loss on the few-shot images with the classes
that the teacher gives them. Rows have the columns of `others.py`, to be read beside them.

python nbs/experiments/depgraph.py nbs/experiments/teachers/vit.json DATA --keeps .75,.5,.4 --n 500 --seeds 0,1,2
"""

import time
from copy import deepcopy
from itertools import product

import torch
import torch_pruning as tp
from common import Table, few_shot_sets, load, numbers
from fastcore.script import call_parse
from timm.layers import Attention
from torch.nn import functional as F
from tqdm.auto import tqdm

from dcvit.images.config import data_config
from dcvit.images.measure import Judge, logits, top1
from dcvit.images.splits import order_of
from dcvit.model.reading import read
from dcvit.model.tracing import count_macs, input_shape

importances = dict(
    magnitude=tp.importance.GroupMagnitudeImportance,
    taylor=tp.importance.GroupTaylorImportance,
)


def pseudo_loss(student, images, labels):
    return F.cross_entropy(student(images), labels)


def pruner(model, kind, steps):
    "Torch-Pruning's pruner for a timm transformer, the classifier left alone"
    attentions = [m for m in model.modules() if isinstance(m, Attention)]
    return tp.pruner.BasePruner(
        model,
        torch.zeros(1, *input_shape(model)),
        importance=importances[kind](),
        pruning_ratio=0.9,
        iterative_steps=steps,
        ignored_layers=[model.head],
        num_heads={m.qkv: m.num_heads for m in attentions},
        prune_head_dims=True,
        unwrapped_parameters=[(p, p.ndim - 1) for p in (model.cls_token, model.pos_embed)],
    )


def match(model, found):
    "Tell timm's attentions how wide their heads are now"
    for m in model.modules():
        if isinstance(m, Attention):
            m.num_heads = found.num_heads[m.qkv]
            m.head_dim = m.qkv.out_features // (3 * m.num_heads)
            m.attn_dim = m.qkv.out_features // 3
            m.scale = m.head_dim**-0.5


def narrowed(teacher, kind, keep, x, y, steps):
    "The first student in small steps that has at most `keep` of the MACs"
    model = deepcopy(teacher).requires_grad_(True)
    whole = read(teacher).total.macs
    found = pruner(model, kind, steps)
    for _ in range(steps):
        if kind == 'taylor':
            model.zero_grad()
            for some, labels in zip(x.split(64), y.split(64), strict=True):
                pseudo_loss(model, some, labels).backward()
        found.step()
        match(model, found)
        macs = macs_of(model)
        if macs <= keep * whole:
            return model, macs / whole
    raise SystemExit(f'no structure with {keep} of the MACs')


def macs_of(model):
    "Multiply-accumulates of one image"
    return count_macs(model, torch.zeros(1, *input_shape(model))).get_total_flops() / 2


def trained(model, x, y, steps, seed, batch=64, lr=1e-4):
    "Cross-entropy on the teacher's labels, images flipped at random"
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    torch.manual_seed(seed)
    order = order_of(len(x), batch, seed)
    for _ in tqdm(range(steps)):
        _, some = next(order)
        images = torch.where(torch.rand(len(some), 1, 1, 1) < 0.5, x[some].flip(-1), x[some])
        optimizer.zero_grad()
        pseudo_loss(model, images, y[some]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@call_parse
def main(
    teacher: str,
    data: str,
    out: str = 'nbs/results/depgraph.csv',
    kinds: str = 'magnitude,taylor',
    lengths: str = '0,2000',  # gradient steps
    keeps: str = '.75,.5,.4',  # fractions of the teacher's MACs
    n: str = '500',
    seeds: str = '0,1,2',
    steps: int = 200,  # in which nine tenths of everything would go; each looks at all images again
    threads: int = 2,
):
    "One row for each split, budget, importance and length"
    torch.set_num_threads(threads)
    model, source, tests, labels = load(teacher, data)
    judge = Judge(model, tests)
    table = Table(out)
    for kind, length in product(kinds.split(','), numbers(lengths, int)):
        asked = dict(system=f'torch-pruning, {kind}', length=length)
        for few, keys in few_shot_sets(table, source, data_config(model), n, seeds, keeps, **asked):
            start = time.time()
            x = few.tensor
            y = logits(model, x).argmax(1)
            student, reached = narrowed(model, kind, keys['keep'], x, y, steps)
            trained(student, x, y, length, keys['seed'])
            table.add(
                **keys,
                reached=reached,
                params=sum(p.numel() for p in student.parameters()),
                **judge.scores(student, labels),
                top1_teacher=top1(judge.expected, labels),
                seconds=round(time.time() - start, 1),
            )
