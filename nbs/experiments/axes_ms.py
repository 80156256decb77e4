"""Latency budgets with everything that can go, and with less of it; all students are timed in one run, in turns.

TEACHER is a JSON file that names a timm model (see `dcvit.load_teacher`); DATA has train/ and test/ with one folder
per class. Needs a quiet machine.

python nbs/experiments/axes_ms.py nbs/experiments/teachers/vit.json DATA --keeps .7,.6,.5 --seeds 0,1,2
"""

from dataclasses import replace

import torch
from common import Table, few_shot_sets, load, to_text
from fastcore.script import call_parse

import dcvit
from dcvit.images.config import data_config
from dcvit.images.measure import Judge, latency
from dcvit.model.tracing import input_shape
from dcvit.recipes import get_recipe

axes = {
    'all': dict(),
    'without tokens': dict(fewer=False),
    'heads and neurons': dict(fewer=False, widths=False),
}


def compressed(model, few, keep, batch, seed, changes):
    "A student for a fraction of the teacher's latency"
    return dcvit.compress(
        model,
        few.images or few.pixels,
        keep_latency=keep,
        latency_batch=batch,
        recipe=replace(get_recipe('closed-form'), **changes),
        seed=seed,
        timing=False,
        progress=False,
    )


def timed(model, students, batch, seconds):
    "Share of the teacher's time of every student, in turns"
    found = latency(dict(teacher=model, **students), input_shape(model), batch, seconds=seconds)
    return {name: found[name]['ratio'] for name in students}


def figures(made, ratio, judge, labels):
    "What the table says of one student"
    return dict(
        ratio=ratio,
        keep_macs=made.report['student']['keep_macs'],
        tokens=made.structure.tokens[-1] if made.structure.tokens else '',
        **judge.scores(made.model, labels),
        blocks=to_text(made.structure),
    )


@call_parse
def main(
    teacher: str,
    data: str,
    out: str = 'nbs/results/axes_ms.csv',
    n: int = 500,
    batch: int = 64,
    seeds: str = '0,1,2',
    keeps: str = '.7,.6,.5',  # fractions of the teacher's latency
    seconds: float = 10,  # of timing for each student
    threads: int = 2,
):
    "One row for each split, budget and choice of axes"
    torch.set_num_threads(threads)
    model, source, x, labels = load(teacher, data)
    judge = Judge(model, x)
    table = Table(out)
    for few, keys in few_shot_sets(table, source, data_config(model), str(n), seeds, keeps):
        keep, seed = keys['keep'], keys['seed']
        asked = (model, few, keep, batch, seed)
        made = {name: compressed(*asked, changes) for name, changes in axes.items()}
        ratios = timed(model, {name: m.model for name, m in made.items()}, batch, seconds)
        for name, m in made.items():
            row = figures(m, ratios[name], judge, labels)
            table.add(**keys, axes=name, batch=batch, **row)
