"""The paper's claims about its own parts, on one teacher.

TEACHER is 'demo' or a JSON file that names a timm model (see `dcvit.load_teacher`); DATA has train/ and test/ with
one folder per class. Rows that are there are not made again.

python nbs/experiments/ablations.py demo --out nbs/results/ablation_digits --iters 1000
python nbs/experiments/ablations.py nbs/experiments/teachers/vit.json DATA --out nbs/results/ablation_cifar
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from common import Table, load, numbers, timed
from domains import draw
from fastcore.script import Param, call_parse
from search_study import orders

from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.measure import Judge
from dcvit.images.run import Run
from dcvit.images.splits import spread
from dcvit.images.views import Views
from dcvit.model.budget import budget, uniform
from dcvit.model.reading import read
from dcvit.paper.invert import InversionNumbers, invert
from dcvit.paper.mimic import MimicNumbers
from dcvit.paper.plan import candidates, compressed, meeting, plan
from dcvit.paper.progressive import oneshot, progressive
from dcvit.paper.targets import Targets
from dcvit.paper.trial import TrialSetup, choose_neurons, trial
from dcvit.search.statistics import statistics_of, take_in


@dataclass(frozen=True)
class Variant:
    "The paper's method, but for what is changed here"

    tokens: str = 'all'  # mimicked
    update: str = 'front'  # updated
    neurons: str = 'random'  # kept in the blocks: see `orders`
    mode: str = 'progressive'
    more: int = 0  # blocks beyond the smallest number that meets the budget
    attention: bool = False  # of the chosen blocks stays
    blocks: str = 'on_inverted'  # score of the trials that chooses them, or 'random'


variants = {
    "the paper's": Variant(),
    'class token alone': Variant(tokens='cls'),
    'everything updated': Variant(update='all'),
    'all at once': Variant(mode='oneshot'),
    'magnitude': Variant(neurons='magnitude'),
    'active': Variant(neurons='active'),
    'greedy': Variant(neurons='greedy'),
    'two blocks more': Variant(more=2),
    'three blocks more': Variant(more=3),
    'two more, attention stays': Variant(more=2, attention=True),
    'blocks by the loss before': Variant(blocks='inverted_before'),
    'blocks at random': Variant(blocks='random'),
}


class Bench:
    "A teacher and the test images that judge its students"

    def __init__(self, teacher, data, tests, numbers, n, iters):
        self.model, self.source, x, labels = load(teacher, data)
        idx = spread(len(x), tests)
        self.on_test, self.labels = Judge(self.model, x[idx]), labels[idx]
        self.net = read(self.model)
        self.cfg = data_config(self.model)
        self.numbers = numbers
        self.n = n
        self.iters = iters

    def scores(self, student):
        return self.on_test.scores(student, self.labels)


class Seed:
    "What all trials and variants of one seed share: few-shot images, targets, and images that score"

    def __init__(self, bench, seed):
        self.bench = bench
        self.seed = seed
        self.few = few_shot(bench.source, bench.cfg, bench.n, seed)
        m = bench.numbers
        views = Views(self.few, m.augment, m.jitter, m.views, seed, cache_mb=2000)
        self.targets = Targets(bench.model, views, cache_mb=2000)

    def _drawn(self, name):
        "As many images as there are few-shot ones, drawn here"
        images = draw(name, self.bench.model, self.bench.n, self.seed)
        return few_shot(images, self.bench.cfg, self.bench.n, self.seed).tensor

    def judges(self):
        "Judges on images of several kinds, and on several numbers of inverted ones"
        bench, iters = self.bench, self.bench.iters
        recipe = InversionNumbers(
            metric_images=2 * bench.n, metric_iters=iters, metric_warmup=iters // 20
        )
        made = invert(bench.model, bench.cfg, recipe, self.seed, progress=False).images
        sets = dict(
            inverted=made[: bench.n],
            inverted_fifth=made[: bench.n // 5],
            inverted_double=made,
            few_shot=self.few.tensor,
            clouds=self._drawn('clouds'),
            noise=self._drawn('noise'),
        )
        return {name: Judge(bench.model, images) for name, images in sets.items()}

    def setup(self, judge, lefts, keep, length, numbers):
        b = self.bench
        return TrialSetup(
            b.model, b.net, self.targets, judge, numbers, length, lefts, keep, self.seed
        )

    def orders(self):
        "Orders of the neurons of every block: `{block: {name: indices}}`"
        b = self.bench
        stats = statistics_of(Run(teacher=b.model, net=b.net, few=self.few))
        take_in(stats)
        return {
            block.index: orders(b.model, block, stats[block.index, 'mlp']) for block in b.net.blocks
        }


def tried(bench, setup, judges, i):
    "What each score says of one block alone before and after recovery, and what the student is worth"
    cut = setup.student([i])
    before = {f'{name}_before': judge.loss(cut) for name, judge in judges.items()}
    t = trial(setup, i, progress=False)
    student = setup.student([i])
    student.load_state_dict(t.weights, strict=False)
    after = {f'on_{name}': judge.loss(student) for name, judge in judges.items()}
    return dict(**before, **after, mimic_loss=t.losses[-1].item(), **bench.scores(student))


def add_trials(seed, table, r_d, length):
    "A row for every block that is not there"
    bench = seed.bench
    cands = candidates(bench.net)
    missing = [i for i in cands if not table.has(seed=seed.seed, block=i)]
    if not missing:
        return
    structure = compressed(bench.net, cands, r_d)
    lefts = {i: structure[i] for i in cands}
    judges = seed.judges()
    keep = choose_neurons(bench.net, lefts, seed.seed)
    setup = seed.setup(judges['inverted'], lefts, keep, length, bench.numbers)
    for i in missing:
        row = dict(seed=seed.seed, block=i, r_d=r_d, steps=length)
        table.add(**row, **tried(bench, setup, judges, i))


def ranked(seed, rows, by):
    "Blocks that may be compressed, the best by a score of the trials first"
    if by == 'random':
        return np.random.default_rng(seed.seed).permutation(rows.block).tolist()
    return rows.sort_values(by).block.tolist()


def structure_of(seed, variant, order, keep):
    "`(blocks to compress, the structure)` of a variant at a budget"
    net = seed.bench.net
    target = budget(net, keep_macs=keep)
    chosen = order[: plan(net, target, candidates(net)).k + variant.more]
    make = uniform if variant.attention else meeting
    return chosen, make(net, target, chosen)


def kept_neurons(seed, variant, lefts, by_name):
    "The neurons that stay, as `TrialSetup` takes them"
    if variant.neurons == 'random':
        return choose_neurons(seed.bench.net, lefts, seed.seed)
    return {
        (i, 'mlp'): by_name[i][variant.neurons][: left.mlp].sort().values
        for i, left in lefts.items()
    }


def recovered(setup, variant, chosen, steps):
    "The student of a variant, after so many steps in all"
    if variant.mode == 'oneshot':
        return oneshot(setup, chosen, steps, progress=False)[0]
    each = steps // len(chosen)
    first = trial(replace(setup, length=each), chosen[0], progress=False)
    return progressive(setup, chosen, first.weights, each, progress=False)[0]


def add_variants(seed, table, rows, keep, steps):
    "A row for every variant that is not there"
    bench = seed.bench
    missing = [name for name in variants if not table.has(seed=seed.seed, variant=name)]
    by_name = seed.orders() if missing else {}
    judge = Judge(bench.model, seed.few.tensor)
    for name in missing:
        v = variants[name]
        chosen, structure = structure_of(seed, v, ranked(seed, rows, v.blocks), keep)
        lefts = {i: structure[i] for i in chosen}
        numbers = replace(bench.numbers, tokens=v.tokens, update=v.update)
        setup = seed.setup(judge, lefts, kept_neurons(seed, v, lefts, by_name), 0, numbers)
        student, seconds = timed(partial(recovered, setup, v, chosen, steps))
        row = dict(seed=seed.seed, variant=name, keep=keep, steps=steps, k=len(chosen))
        table.add(**row, **bench.scores(student), seconds=seconds)


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/ablation_digits',  # two tables: OUT_trials.csv and OUT_variants.csv
    n: int = 50,  # few-shot images
    seeds: str = '0,1,2',
    steps: int = 500,  # of each trial, and of all steps of a variant together
    batch: int = 16,  # images of a step
    lr: float = 1e-3,
    iters: int = 200,  # of inversion
    keep: float = 0.75,  # budget of the variants
    trial_r_d: float = 0.5,  # drop ratio of the trials
    tests: int = 1000,  # test images
):
    "Run the trials of every block, then every variant with the blocks that they choose"
    torch.set_num_threads(1)
    recipe = MimicNumbers(unit='step', lr=lr, batch=batch)
    bench = Bench(teacher, data, tests, recipe, n, iters)
    trials, made = Table(f'{out}_trials.csv'), Table(f'{out}_variants.csv')
    for number in numbers(seeds, int):
        seed = Seed(bench, number)
        add_trials(seed, trials, trial_r_d, steps)
        add_variants(seed, made, trials.rows.query('seed == @number'), keep, steps)
