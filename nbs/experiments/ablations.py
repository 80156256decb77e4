"""The paper's claims about its own parts, on one teacher.

python nbs/experiments/ablations.py demo --out nbs/results/ablation_digits
python nbs/experiments/ablations.py TEACHER.json DATA --out nbs/results/ablation_cifar
"""

import time
from copy import deepcopy
from dataclasses import replace

import torch
from common import Table, load, numbers
from fastcore.script import Param, call_parse

from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.measure import Judge
from dcvit.images.views import Views
from dcvit.model.budget import budget
from dcvit.model.reading import read
from dcvit.paper.invert import InversionNumbers, invert
from dcvit.paper.mimic import MimicNumbers
from dcvit.paper.plan import candidates, compressed, plan
from dcvit.paper.progressive import progressive
from dcvit.paper.targets import Targets
from dcvit.paper.trial import TrialSetup, choose_neurons, trial

choices = {
    'all tokens, front': {},
    'class token, front': dict(tokens='cls'),
    'all tokens, everything': dict(update='all'),
}


def setup_of(model, net, few, judge, lefts, numbers, length, seed):
    "What the trials of one seed share"
    views = Views(few, numbers.augment, numbers.jitter, numbers.views, seed, cache_mb=2000)
    keep = choose_neurons(net, lefts, seed)
    return TrialSetup(model, net, Targets(model, views), judge, numbers, length, lefts, keep, seed)


def student_of(setup, t):
    "The student of a finished trial"
    student = deepcopy(setup.teacher)
    setup.cut(student, t.block)
    student.load_state_dict(t.weights, strict=False)
    return student


def all_trials(setup, on_few, on_test, labels, table, keys):
    "Every block alone: what each score says, and the accuracy that followed"
    for i in range(len(setup.net)):
        t = trial(setup, i, progress=False)
        student = student_of(setup, t)
        scores = dict(on_metric_set=t.score, before=t.before, on_few_shot=on_few.loss(student))
        table.add(
            block=i,
            **keys,
            **scores,
            mimic_loss=t.losses[-1].item(),
            **on_test.scores(student, labels),
        )


def variants(setup, order, length, on_test, labels, table, keys):
    "Progressive pruning of the same blocks under each choice"
    for name, choice in choices.items():
        start = time.time()
        own = replace(setup, numbers=replace(setup.numbers, **choice))
        first = trial(own, order[0], progress=False)
        student, _ = progressive(own, order, first.weights, length, progress=False)
        seconds = time.time() - start
        table.add(variant=name, **keys, **on_test.scores(student, labels), seconds=seconds)


def some_of(x, labels, count):
    "So many test images, drawn at random"
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:count]
    return x[order], labels[order]


class Bench:
    "A teacher, the test images that judge its students, and the two tables"

    def __init__(self, teacher, data, tests, out):
        self.model, self.source, x, labels = load(teacher, data)
        x, self.labels = some_of(x, labels, tests)
        self.net = read(self.model)
        self.cfg = data_config(self.model)
        self.on_test = Judge(self.model, x)
        self.trials = Table(f'{out}_trials.csv')
        self.variants = Table(f'{out}_variants.csv')

    def metric_set(self, seed, iters):
        "Synthetic images, and how many of them the teacher puts in the class they were made for"
        recipe = InversionNumbers(metric_iters=iters, metric_warmup=iters // 20)
        S = invert(self.model, self.cfg, recipe, seed, progress=False)
        hit = self.model(S.images).argmax(1) == S.targets
        return Judge(self.model, S.images), hit.float().mean().item()

    def setup(self, few, judge, lefts, length, lr, seed):
        steps = MimicNumbers(unit='step', lr=lr)
        return setup_of(self.model, self.net, few, judge, lefts, steps, length, seed)

    def best(self, seed, k):
        "The k blocks whose trials lost least"
        mine = self.trials.rows.query('seed==@seed').sort_values('on_metric_set')
        return [i for i in mine.block if i in candidates(self.net)][:k]

    def add_trials(self, few, judge, hit, r_d, length, lr, seed):
        "A row for every block"
        lefts = dict(enumerate(compressed(self.net, range(len(self.net)), r_d).blocks))
        setup = self.setup(few, judge, lefts, length, lr, seed)
        keys = dict(seed=seed, r_d=r_d, metric_set_hit=hit)
        on_few = Judge(self.model, few.tensor)
        all_trials(setup, on_few, self.on_test, self.labels, self.trials, keys)

    def add_variants(self, few, judge, p, length, lr, seed):
        "A row for every choice of what to mimic and what to update"
        chosen = self.best(seed, p.k)
        lefts = {i: compressed(self.net, [i], p.r_d)[i] for i in chosen}
        setup = self.setup(few, judge, lefts, length[0], lr, seed)
        keys = dict(seed=seed, k=p.k, r_d=p.r_d)
        variants(setup, chosen, length[1], self.on_test, self.labels, self.variants, keys)


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/ablation_digits',  # two tables: OUT_trials.csv and OUT_variants.csv
    n: int = 50,  # few-shot images
    seeds: str = '0,1,2',
    trial_steps: int = 100,
    step_steps: int = 100,
    lr: float = 1e-3,
    iters: int = 400,  # of inversion
    keep: float = 0.5,  # budget of the variants
    trial_r_d: float = 0.5,  # drop ratio of the trials
    test: int = None,  # test images to use; default all
):
    "Run both ablations"
    bench = Bench(teacher, data, test, out)
    net = bench.net
    p = plan(net, budget(net, keep_macs=keep), candidates(net))
    for seed in numbers(seeds, int):
        few = few_shot(bench.source, bench.cfg, n, seed)
        judge, hit = bench.metric_set(seed, iters)
        bench.add_trials(few, judge, hit, trial_r_d, trial_steps, lr, seed)
        bench.add_variants(few, judge, p, (trial_steps, step_steps), lr, seed)
