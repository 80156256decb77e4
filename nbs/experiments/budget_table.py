"""Accuracy against MACs: any recipe and space, several budgets, image counts and seeds.

TEACHER is 'demo' or a JSON file that names a timm model (see `dcvit.load_teacher`); DATA has train/ and test/ with
one folder per class.

python nbs/experiments/budget_table.py TEACHER.json DATA --recipe closed-form --spaces search,uniform --out FILE.csv
python nbs/experiments/budget_table.py demo --recipe paper --spaces paper,blocks --out nbs/results/digits.csv
"""

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from common import Table, load, measured, numbers
from fastcore.script import Param, call_parse

import dcvit
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.measure import Judge
from dcvit.paper.invert import InversionNumbers, invert, synthetic
from dcvit.recipes import get_recipe


def recipe_of(name, space, images, trial, step, lr):
    "The recipe with the table's lengths"
    recipe = replace(get_recipe(name), space=space)
    if name != 'paper':
        return recipe
    plain = {} if images else dict(augment='none')
    return replace(recipe, unit='step', trial_length=trial, step_length=step, lr=lr, **plain)


class Bench:
    "One teacher, its test images, and the table"

    def __init__(self, teacher, data, out):
        self.model, self.source, x, self.labels = load(teacher, data)
        self.cfg = data_config(self.model)
        self.judge = Judge(self.model, x)
        self.table = Table(out)
        self.inverted = {}

    def few(self, n, seed, kind):
        if kind == 'real':
            return few_shot(self.source, self.cfg, n, seed)
        short = InversionNumbers(metric_images=n, metric_iters=200, metric_warmup=10)
        return synthetic(self.model, self.cfg, short, seed, progress=False)

    def metric_set(self, seed):
        "Inverted images of a seed, made once"
        if seed not in self.inverted:
            how = InversionNumbers(metric_iters=200, metric_warmup=10)
            self.inverted[seed] = invert(self.model, self.cfg, how, seed, progress=False)
        return self.inverted[seed]

    def add(self, few, recipe, keep, keys, trials):
        "Compress once and append the row; trials of dropped blocks do not depend on the budget and are shared"
        run = Path(tempfile.mkdtemp())
        start = time.time()
        blocks = recipe.space == 'blocks'
        if blocks:
            shutil.copytree(trials, run / 'trials', dirs_exist_ok=True)
        more = dict(metric_set=self.metric_set(keys['seed'])) if keys['recipe'] == 'paper' else {}
        how = dict(
            recipe=recipe, seed=keys['seed'], run_dir=run, timing=False, progress=False, **more
        )
        try:
            made = dcvit.compress(self.model, few.images or few.pixels, keep_macs=keep, **how)
        except dcvit.DcvitError as e:
            print(f'{recipe.space} {keep}: {e}', flush=True)
            return
        seconds = round(time.time() - start, 1)
        if blocks:
            shutil.copytree(run / 'trials', trials, dirs_exist_ok=True)
        shutil.rmtree(run)
        found = measured(made, self.judge, self.labels)
        self.table.add(**keys, keep=keep, **found, seconds=seconds)


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/budgets.csv',  # finished rows are kept and not run again
    keep: str = '0.9,0.75,0.6,0.5,0.4',  # fractions of the teacher's MACs
    n: str = '50,500',  # few-shot images
    seeds: str = '0,1,2',
    recipe: str = 'closed-form',
    spaces: str = 'search',  # 'paper', 'blocks', 'search' or 'uniform'
    images: str = 'real',  # 'synthetic': inverted images instead of real ones
    trial: int = 12,  # for the paper: steps of each trial (there: 2000 epochs)
    step: int = 30,  # and of each progressive step (likewise)
    lr: float = 1e-3,
):
    "Run every combination and append a row for each"
    bench = Bench(teacher, data, out)
    for seed in numbers(seeds, int):
        for count in numbers(n, int):
            few = bench.few(count, seed, images)
            for space in spaces.split(','):
                chosen = recipe_of(recipe, space, few.images, trial, step, lr)
                trials = tempfile.mkdtemp()
                for q in numbers(keep):
                    keys = dict(recipe=recipe, space=space, images=images, n=count, seed=seed)
                    if not bench.table.has(**keys, keep=q):
                        bench.add(few, chosen, q, keys, trials)
