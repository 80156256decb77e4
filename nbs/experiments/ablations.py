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
    model, source, x, labels = load(teacher, data)
    net = read(model)
    cfg = data_config(model)
    idx = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:test]
    on_test = Judge(model, x[idx])
    labels = labels[idx]
    trials_table = Table(f'{out}_trials.csv')
    variants_table = Table(f'{out}_variants.csv')
    p = plan(net, budget(net, keep_macs=keep), candidates(net))
    for seed in numbers(seeds, int):
        few = few_shot(source, cfg, n, seed)
        S = invert(
            model,
            cfg,
            InversionNumbers(metric_iters=iters, metric_warmup=iters // 20),
            seed,
            progress=False,
        )
        hit = (model(S.images).argmax(1) == S.targets).float().mean().item()
        judge = Judge(model, S.images)
        steps = MimicNumbers(unit='step', lr=lr)
        lefts = dict(enumerate(compressed(net, range(len(net)), trial_r_d).blocks))
        setup = setup_of(model, net, few, judge, lefts, steps, trial_steps, seed)
        keys = dict(seed=seed, r_d=trial_r_d, metric_set_hit=hit)
        all_trials(setup, Judge(model, few.tensor), on_test, labels, trials_table, keys)
        mine = trials_table.rows.query('seed==@seed').sort_values('on_metric_set')
        order = [i for i in mine.block if i in candidates(net)][: p.k]
        chosen = {i: compressed(net, [i], p.r_d)[i] for i in order}
        setup = setup_of(model, net, few, judge, chosen, steps, trial_steps, seed)
        keys = dict(seed=seed, k=p.k, r_d=p.r_d)
        variants(setup, order, step_steps, on_test, labels, variants_table, keys)
