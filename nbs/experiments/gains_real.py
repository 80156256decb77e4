"""What gradient steps bring to students of real models in the minutes that `fast` gives them.

The steps are taken however near the student is to its teacher, and kept whatever the check images say about them.
Arguments are those of real.py.

python nbs/experiments/gains_real.py tf_efficientnet_lite0 IMAGES --weights FILE.pth --seeds 0,1,2,3,4
python nbs/experiments/gains_real.py TEACHER.json IMAGES --n 200 --tests 600 --keeps .5,.35
"""

import tempfile
from itertools import product
from pathlib import Path
from unittest.mock import patch

import torch
from common import Table, numbers
from fastcore.script import Param, call_parse
from real import benches

from dcvit.search import gradients

always = dict(is_harmed=lambda before, after: False, _near_in_a_hurry=0.0)


def gained(bench, keep):
    "KL on the check images, KL and top-1 on the test images, before gradient steps and behind them"
    with tempfile.TemporaryDirectory() as run_dir, patch.multiple(gradients, **always):
        made = bench.compressed('fast', keep, run_dir)
        before = bench.row_before_gradients(made, run_dir)
    after = bench.scores(made.model)
    said = made.report['gradients']
    found = {k: said[k] for k in ('check_before', 'check_after')}
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
):
    "Run every combination and append a row for each"
    torch.set_num_threads(threads)
    bench, table = benches(teacher, images, weights, n, tests), Table(out)
    for seed, keep in product(numbers(seeds, int), numbers(keeps)):
        keys = dict(teacher=Path(teacher).stem, n=n, keep=keep, seed=seed)
        if not table.has(**keys):
            table.add(**keys, **gained(bench(seed), keep))
