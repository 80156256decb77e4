"""What gradient steps bring to students of real models in the minutes that `fast` gives them.

The steps are taken whatever the student sees, and kept whatever the check images say about them. Arguments are those of
real.py; with `--everything` students see all pixels and tokens.

python nbs/experiments/gains_real.py tf_efficientnet_lite0 IMAGES --weights FILE.pth --seeds 0,1,2,3,4
python nbs/experiments/gains_real.py tf_efficientnet_lite0 IMAGES --weights FILE.pth --keeps .75 --everything
python nbs/experiments/gains_real.py TEACHER.json IMAGES --n 200 --tests 600 --keeps .5,.35
"""

import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from unittest.mock import patch

import torch
from common import Table, numbers
from fastcore.script import Param, call_parse, store_true
from real import benches

from dcvit.recipes import get_recipe
from dcvit.search import gradients


def trained(bench, recipe, keep):
    "A student whose gradient steps are taken and kept, and the row of the one in front of them"
    taken = patch.object(gradients._Descent, 'why_not', lambda self, in_a_hurry: None)
    kept = patch.object(gradients, 'is_harmed', lambda before, after: False)
    with tempfile.TemporaryDirectory() as run_dir, taken, kept:
        made = bench.compressed(recipe, keep, run_dir)
        return made, bench.row_before_gradients(made, run_dir)


def what_it_sees(structure):
    if structure.resolution is not None:
        return 'fewer pixels'
    return 'fewer tokens' if structure.tokens else 'everything'


def gained(bench, recipe, keep):
    "KL on the check images, KL and top-1 on the test images, before gradient steps and behind them"
    made, before = trained(bench, recipe, keep)
    after = bench.scores(made.model)
    said = made.report['gradients']
    found = dict(sees=what_it_sees(made.structure))
    found |= {k: said[k] for k in ('check_before', 'check_after')}
    for score in ('kl', 'top1'):
        found |= {f'{score}_before': before[score], f'{score}_after': after[score]}
    return found


@call_parse
def main(
    teacher: str,
    images: str,
    weights: Param('local weights, in the order of the timm model', str) = None,
    n: int = 500,
    tests: int = 500,
    keeps: str = '.9,.75,.6',
    seeds: str = '0',
    out: str = 'nbs/results/gains_real.csv',  # finished rows are kept and not run again
    threads: int = 2,
    everything: Param('students see all pixels and tokens', store_true) = False,
):
    "Run every combination and append a row for each"
    torch.set_num_threads(threads)
    recipe = replace(get_recipe('fast'), fewer=not everything)
    bench, table = benches(teacher, images, weights, n, tests), Table(out)
    for seed, keep in product(numbers(seeds, int), numbers(keeps)):
        keys = dict(teacher=Path(teacher).stem, n=n, keep=keep, seed=seed, fewer=recipe.fewer)
        if not table.has(**keys):
            table.add(**keys, **gained(bench(seed), recipe, keep))
