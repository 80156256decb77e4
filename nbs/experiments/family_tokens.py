"""Students of one family with merged tokens where its anchors say so, and the same family without.

python nbs/experiments/family_tokens.py nbs/experiments/teachers/vit.json DATA --keeps .6,.5,.4,.3
"""

import torch
from common import Table, load, numbers, to_text
from fastcore.script import call_parse

import dcvit
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.measure import Judge


def with_and_without(family):
    "`(merging?, the family)`: as it was made, and with anchors that merge nothing"
    found = family.anchors
    yield True, family
    family.anchors = {share: dict(anchor, merged=0.0) for share, anchor in found.items()}
    yield False, family


def figures(family, keep, judge, labels):
    "What the family says of a budget, and how close its student is to the teacher"
    structure = family.structure(keep_macs=keep)
    return dict(
        merged=family.near(keep).merged,
        reached=family.cost(structure).macs / family.net.total.macs,
        predicted_kl=family.predicted(keep, 'kl'),
        tokens=structure.tokens[-1] if structure.tokens else '',
        **judge.scores(family.student(structure), labels),
        blocks=to_text(structure),
    )


@call_parse
def main(
    teacher: str,
    data: str,
    out: str = 'nbs/results/family_tokens.csv',
    n: int = 500,
    seeds: str = '0',
    keeps: str = '.6,.5,.4,.3',
    threads: int = 2,
):
    "One row for each split, budget and choice"
    torch.set_num_threads(threads)
    model, source, x, labels = load(teacher, data)
    judge = Judge(model, x)
    table = Table(out)
    shares = numbers(keeps)
    for seed in numbers(seeds, int):
        few = few_shot(source, data_config(model), n, seed)
        made = dcvit.family(model, few.images, budgets=(min(shares), 0.95), seed=seed)
        for merging, family in with_and_without(made):
            for keep in shares:
                keys = dict(n=n, seed=seed, keep=keep, merging=merging)
                table.add(**keys, **figures(family, keep, judge, labels))
