"""What single parts lose on few images, by the KL and by the steadied one, next to their KL on many other images.

TEACHER and IMAGES as for `real.py`.

python nbs/experiments/steady.py nbs/experiments/teachers/vit.json IMAGES/test --out nbs/results/steady.csv
"""

from pathlib import Path

import torch
from common import Table, numbers
from fastcore.script import Param, call_parse
from real import labelled_files, split, teacher_of

from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.run import Run
from dcvit.images.splits import Batches, spread
from dcvit.model.reading import read
from dcvit.search.bases import directions_of
from dcvit.search.losses import probe
from dcvit.search.replay import Replay
from dcvit.search.statistics import statistics_of
from dcvit.search.units import for_many


def probed(run, stats, images, steady):
    "`{(block, part, units): loss}` of all options of the loss table"
    judge = Replay(run.teacher, run.net, images, tempered=True, half=run.half, steady=steady)
    found = probe(run.teacher, run.net, stats, judge, progress=False)
    return {(*key, n): loss for key, losses in found.items() for n, loss in losses.items()}


def run_of(model, files, seed):
    few = few_shot(files, data_config(model), seed=seed)
    return Run(teacher=model, net=read(model), few=few, seed=seed)


def add(table, run, tests, few, keys):
    "Append a row for each option and number of images"
    stats = statistics_of(run)
    stats = for_many(stats | directions_of(run, stats))
    truth = probed(run, stats, tests, steady=False)
    choose = run.few.splits.choose
    for count in few:
        images = Batches(run.few, choose[spread(len(choose), count)])
        lost, steadied = (probed(run, stats, images, steady) for steady in (False, True))
        for (block, part, units), test in truth.items():
            key = block, part, units
            named = dict(images=count, block=block, part=part, units=units)
            table.add(**keys, **named, kl=lost[key], steady=steadied[key], test=test)


@call_parse
def main(
    teacher: str,
    images: str,
    weights: Param('local weights, in the order of the model', str) = None,
    out: str = 'nbs/results/steady.csv',
    n: int = 200,  # few-shot images
    tests: int = 600,  # other images
    few: str = '8,16,32',  # images that tell
    seeds: str = '0,1,2',
):
    "Every seed that the table lacks"
    torch.set_grad_enabled(False)
    model = teacher_of(teacher, weights)
    files = labelled_files(images, model.num_classes)
    table = Table(out)
    for seed in numbers(seeds, int):
        keys = dict(teacher=Path(teacher).stem, seed=seed)
        if not table.has(**keys):
            seen, others = split(files, n, tests, seed)
            judged = Batches(few_shot(others, data_config(model)))
            add(table, run_of(model, seen, seed), judged, numbers(few, int), keys)
