"""The systems for convolution networks, and ours, on a real pretrained one.

TEACHER, IMAGES and WEIGHTS are those of real.py. Gradient steps are taken on augmented photographs.

python nbs/experiments/others_real.py tf_efficientnet_lite0 IMAGES --weights FILE.pth
"""

from dataclasses import replace

import torch
from common import Table, measured
from fastcore.script import Param, call_parse
from others import combinations, recipe_of
from real import benches

import dcvit

# of the metric set of `whole blocks`; 2000 and 100 in the paper, which are hours at this size
inversion = dict(metric_iters=100, metric_warmup=10)


def recipe_for(system, length):
    "A system's recipe on augmented photographs"
    recipe = recipe_of(system, length, 'rand-m9-mstd0.5-inc1')
    return replace(recipe, **inversion) if isinstance(recipe, dcvit.PaperRecipe) else recipe


def row(bench, made):
    "What the table says about one student"
    seconds = round(sum(made.report['seconds'].values()), 1)
    return dict(**measured(made, bench.judge, bench.labels), seconds=seconds)


@call_parse
def main(
    teacher: str,
    images: str,
    weights: Param('local weights, in the order of the timm model', str) = None,
    n: int = 50,  # few-shot images
    tests: int = 500,  # test images
    systems: str = 'fskd,cd,mir,practise',
    keeps: str = '.75',  # fractions of the teacher's MACs
    lengths: str = '20',  # gradient steps of each trial and each stage
    seeds: str = '0',
    out: str = 'nbs/results/others_lite0.csv',  # finished rows are kept and not run again
    threads: int = 2,
):
    "Run every combination and append a row for each"
    torch.set_num_threads(threads)
    bench_of, table = benches(teacher, images, weights, n, tests), Table(out)
    for keys in combinations(systems, keeps, lengths, str(n), seeds):
        if not table.has(**keys):
            bench = bench_of(keys['seed'])
            made = bench.compressed(recipe_for(keys['system'], keys['length']), keys['keep'])
            table.add(**keys, **row(bench, made))
