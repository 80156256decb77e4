"""The paper, its rivals and the search at the same budgets, from the same images, at several lengths.

TEACHER is 'demo' or a JSON file that names a timm model (see `dcvit.load_teacher`); DATA has train/ and test/ with
one folder per class. Run folders are kept, so that a run of hours can be interrupted.

python nbs/experiments/others.py demo --keeps 0.5 --lengths 20,200,2000 --runs runs --out nbs/results/others_digits.csv
"""

import time
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

from common import Table, load, measured, numbers
from fastcore.script import Param, call_parse

import dcvit
from dcvit.base.files import write_tensors
from dcvit.baselines.minivit import MiniRecipe
from dcvit.baselines.s2vite import S2viteRecipe
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.measure import Judge
from dcvit.inputs import pick_device
from dcvit.paper.invert import InversionNumbers, invert
from dcvit.recipes import get_recipe

variants = {
    'whole blocks': dcvit.PaperRecipe(space='blocks'),
    's2vite from scratch': S2viteRecipe(start='own'),
    'mini-deit from scratch': MiniRecipe(start='own'),
    'uniform': dcvit.SearchRecipe(space='uniform', step_length=0),
    'random': dcvit.SearchRecipe(space='random', step_length=0),
}
own_lengths = ('closed-form', 'fast')


def recipe_of(system, length, augment):
    "A system's recipe, with so many steps for each trial and each stage"
    recipe = variants.get(system) or get_recipe(system)
    if system in own_lengths:
        return recipe
    names = {f.name for f in fields(recipe)}
    changed = dict(trial_length=length, step_length=length, unit='step', augment=augment)
    return replace(recipe, **{k: v for k, v in changed.items() if k in names})


class Bench:
    "One teacher, its test images, and the table"

    def __init__(self, teacher, data, out, runs, device='cpu'):
        self.model, self.source, x, self.labels = load(teacher, data)
        self.cfg = data_config(self.model)
        self.device = pick_device(device)
        self.judge = Judge(self.model.to(self.device), x)
        self.model.cpu()
        self.table = Table(out)
        self.runs = Path(runs)

    def add(self, recipe, keys):
        "Compress once and append the row"
        start = time.time()
        try:
            made = self.compress(recipe, keys)
        except dcvit.DcvitError as e:
            print(f'{keys}: {e}', flush=True)
            return
        seconds = round(time.time() - start, 1)
        row = measured(made, self.judge, self.labels)
        on = made.report['environment']['gpu'] or 'cpu'
        self.table.add(**keys, **row, seconds=seconds, device=on)

    def metric_set(self, seed):
        "File of the inverted images of a seed, which all its trials share"
        path = self.runs / f'metric_set_{seed}.safetensors'
        if not path.exists():
            teacher = self.model.to(self.device)
            made = invert(teacher, self.cfg, InversionNumbers(), seed, self.device)
            self.model.cpu()
            self.runs.mkdir(parents=True, exist_ok=True)
            write_tensors(path, dict(images=made.images))
        return path

    def asked(self, recipe, keys):
        "The budget in the recipe's measure, and for the paper the metric set"
        if isinstance(recipe, MiniRecipe):
            return dict(keep_params=keys['keep'])
        asked = dict(keep_macs=keys['keep'])
        if isinstance(recipe, dcvit.PaperRecipe):
            asked['metric_set'] = self.metric_set(keys['seed'])
        return asked

    def compress(self, recipe, keys):
        "The student, its run folder named after what was asked"
        few = few_shot(self.source, self.cfg, keys['n'], keys['seed'])
        folder = self.runs / '_'.join(str(v).replace(' ', '-') for v in keys.values())
        how = dict(recipe=recipe, seed=keys['seed'], device=self.device.type, run_dir=folder)
        how |= dict(timing=False, progress=False, **self.asked(recipe, keys))
        return dcvit.compress(self.model, few.images or few.pixels, **how)


def combinations(systems, keeps, lengths, n, seeds):
    "The keys of every row that was asked for, as words"
    asked = (numbers(seeds, int), numbers(n, int), numbers(lengths, int), systems.split(','))
    for seed, count, length, system in product(*asked):
        for keep in numbers(keeps):
            yield dict(system=system, n=count, seed=seed, length=length, keep=keep)


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/others.csv',  # finished rows are kept and not run again
    runs: str = 'runs',  # run folders
    systems: str = 'closed-form,fast,paper,whole blocks,practise,vtp,s2vite,autoformer,evit,spvit',
    keeps: str = '0.75,0.5',  # fractions of the teacher's MACs; of its parameters for `mini-deit`
    lengths: str = '2000',  # gradient steps of each trial and each stage
    augment: str = 'rand-m9-mstd0.5-inc1',  # 'none': images as they are
    n: str = '50',  # few-shot images
    seeds: str = '0',
    device: str = 'cpu',  # or 'cuda'
):
    "Run every combination and append a row for each"
    bench = Bench(teacher, data, out, runs, device)
    for keys in combinations(systems, keeps, lengths, n, seeds):
        if not bench.table.has(**keys):
            bench.add(recipe_of(keys['system'], keys['length'], augment), keys)
