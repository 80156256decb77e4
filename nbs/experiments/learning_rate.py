"""Which learning rate the gradient stage wants, with few and with many images.

The searched and refitted student of one budget, 80 gradient steps at several rates; KL on the test images. Rate 0
is the student before the steps.

python nbs/experiments/learning_rate.py TEACHER.json DATA --out nbs/results/learning_rate.csv
"""

from copy import deepcopy
from dataclasses import replace

from common import Table, load, numbers
from fastcore.script import Param, call_parse

import dcvit
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.measure import Judge
from dcvit.images.run import Run
from dcvit.model.reading import read
from dcvit.paper.mimic import mimic
from dcvit.paper.targets import targets_of
from dcvit.search.method import SearchRecipe


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/learning_rate.csv',
    keep: float = 0.4,
    n: str = '50,500',
    rates: str = '1e-4,3e-4,1e-3',
    seed: int = 0,
):
    "One row for each number of images and each rate"
    model, source, x, _ = load(teacher, data)
    on_test = Judge(model, x)
    table = Table(out)
    for count in numbers(n, int):
        few = few_shot(source, data_config(model), count, seed)
        how = dict(recipe='closed-form', seed=seed, timing=False, progress=False)
        start = dcvit.compress(model, few.images or few.pixels, keep_macs=keep, **how).model
        recipe = SearchRecipe(lr_images=count)
        run = Run(teacher=model, net=read(model), few=few, seed=seed, progress=False)
        targets = targets_of(run, recipe)
        idx = few.splits.seen
        table.add(images=count, lr=0.0, kl=on_test.loss(start))
        for rate in numbers(rates):
            student = deepcopy(start)
            mimic(
                student,
                targets,
                replace(recipe, lr=rate),
                80,
                len(run.net) - 1,
                seed,
                idx,
                progress=False,
            )
            table.add(images=count, lr=rate, kl=on_test.loss(student))
