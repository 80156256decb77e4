"""What the search rests on, on one teacher: which units to keep, error curves, and whether single losses add up.

python nbs/experiments/search_study.py TEACHER.json DATA --out nbs/results/search_cifar
"""

from dataclasses import replace

import numpy as np
import torch
from common import Table, load, numbers
from fastcore.script import Param, call_parse

from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.measure import Judge
from dcvit.images.run import Run
from dcvit.images.splits import Batches, spread
from dcvit.model.budget import budget, uniform
from dcvit.model.reading import read
from dcvit.search.assemble import assemble
from dcvit.search.candidates import powers
from dcvit.search.losses import loss_table, probe
from dcvit.search.refit import refit
from dcvit.search.solver import best
from dcvit.search.statistics import statistics_of, take_in
from dcvit.search.units import for_many


def leverage(G):
    "How much each input sticks out of the others"
    eye = torch.eye(len(G), dtype=G.dtype)
    return (torch.linalg.inv(G + 1e-2 * G.diagonal().mean() * eye) @ G).diagonal()


def orders(model, block, stat):
    "Orders of one block's hidden neurons, by name"
    mlp = model.get_submodule(block.name).mlp
    into, out = (layer.weight.double().pow(2) for layer in (mlp.fc1, mlp.fc2))
    chance = torch.Generator().manual_seed(block.index)
    scores = dict(
        random=torch.rand(len(stat.G), generator=chance),
        magnitude=into.sum(1) * out.sum(0),
        active=stat.G.diagonal() * out.sum(0),
        leverage=leverage(stat.G),
    )
    found = {name: score.argsort(descending=True) for name, score in scores.items()}
    return dict(found, greedy=stat.order)


class Study:
    "One teacher, statistics of its few-shot images, and two judges"

    def __init__(self, teacher, data, out, n, seed, images):
        self.model, source, x, labels = load(teacher, data)
        idx = spread(len(x), images)
        self.labels = labels[idx]
        self.few = few_shot(source, data_config(self.model), n, seed)
        self.net = read(self.model)
        self.out = out
        run = Run(teacher=self.model, net=self.net, few=self.few)
        self.stats = statistics_of(run)
        take_in(self.stats)
        self.on_few = Judge(self.model, torch.cat([*Batches(self.few, spread(n, 64))]))
        self.on_test = Judge(self.model, x[idx])
        self.rng = np.random.default_rng(seed)

    def curves(self):
        "Error of every part at 32 sizes"
        table = Table(f'{self.out}_curves.csv')
        for (i, which), stat in self.stats.items():
            units = len(stat.order)
            for n in sorted({max(1, round(units * j / 32)) for j in range(1, 33)}):
                share = stat.error(n) / stat.total
                table.add(block=i, part=which, units=n, share=share, total=stat.total)

    def units(self, keep):
        "Every MLP shrunk by one ratio; only the choice of neurons differs"
        table, thin = (
            Table(f'{self.out}_units.csv'),
            uniform(self.net, budget(self.net, keep_macs=keep)),
        )
        by_block = {
            b.index: orders(self.model, b, self.stats[b.index, 'mlp']) for b in self.net.blocks
        }
        for name in by_block[0]:
            own = {
                (i, 'mlp'): replace(self.stats[i, 'mlp'], order=o[name])
                for i, o in by_block.items()
            }
            student = assemble(self.model, self.net, thin, own)
            row = {f'solved_{k}': v for k, v in self.on_test.scores(student, self.labels).items()}
            refit(student, self.model, self.few, self.net)
            row |= {f'refit_{k}': v for k, v in self.on_test.scores(student, self.labels).items()}
            table.add(keep=keep, neurons=name, **row)

    def measured(self, structure, losses):
        "Predicted sum of losses, and what the structure loses together"
        student = assemble(self.model, self.net, structure, self.stats)
        total = sum(table[structure[i].of(which)] for (i, which), table in losses.items())
        scores = self.on_test.scores(student, self.labels)
        return dict(
            sum=total, few=self.on_few.loss(student), test=scores['kl'], top1=scores['top1']
        )

    def sums(self, keep, losses, structures):
        "Structures found with tables made wrong on purpose, and the candidates of the search"
        ranking, candidates = (
            Table(f'{self.out}_{name}.csv') for name in ('ranking', 'candidates')
        )
        b = budget(self.net, keep_macs=keep)
        for _ in range(structures):
            wrong = {k: table * np.exp(self.rng.normal(0, 3)) for k, table in losses.items()}
            ranking.add(keep=keep, **self.measured(best(self.net, wrong, b), losses))
        named = {f'sum of loss^{p}': best(self.net, losses, b, p) for p in powers}
        for name, structure in (named | dict(uniform=uniform(self.net, b))).items():
            candidates.add(keep=keep, candidate=name, **self.measured(structure, losses))


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/search',
    n: int = 500,
    seed: int = 0,
    keep: str = '0.6,0.4',
    structures: int = 30,  # random structures at each budget
    images: int = 1000,  # test images for the comparison
):
    "Write OUT_units.csv, OUT_curves.csv, OUT_ranking.csv and OUT_candidates.csv"
    study = Study(teacher, data, out, n, seed, images)
    study.curves()
    probed = probe(study.model, study.net, for_many(study.stats), study.on_few, progress=False)
    losses = loss_table(study.net, study.stats, probed)
    for q in numbers(keep):
        study.units(q)
        study.sums(q, losses, structures)
