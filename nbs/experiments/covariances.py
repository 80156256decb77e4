"""How well a few images say which hidden neurons to keep and what their output weights should be.

For every MLP of a plain transformer: the squared error of its output on 3,000 other images, as a share of the
output's variance, for several ways to choose the neurons, and several ways to solve for their output weights.

python nbs/experiments/covariances.py nbs/experiments/teachers/vit.json DATA --n 50,500 --seeds 0,1,2
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from common import Table, load, numbers
from fastcore.script import call_parse

from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.splits import Batches
from dcvit.model.reading import read
from dcvit.search.greedy import greedy
from dcvit.search.ridge import solve_ridge, strengths
from dcvit.search.statistics import output_layer, statistics
from dcvit.search.units import weights_of


def middle_of_noise(aspect):
    "Median eigenvalue of the covariance of white noise (Marchenko-Pastur), for an aspect up to 1"
    low, high = (1 - aspect**0.5) ** 2, (1 + aspect**0.5) ** 2
    at = np.linspace(low, high, 20001)[1:]
    density = np.sqrt((high - at).clip(0) * (at - low)) / at
    below = density.cumsum() / density.sum()
    return np.interp(0.5, below, at)


def denoised(G, images, floor=True):
    "A covariance whose eigenvalues below the edge of noise are all their mean, or 0 without `floor`"
    values, vectors = torch.linalg.eigh(G)
    aspect = len(G) / images
    middle = middle_of_noise(min(aspect, 1 / aspect)) * max(aspect, 1)
    noise = values < values.median() / middle * (1 + aspect**0.5) ** 2
    flat = values[noise].mean() if floor else 0.0
    return vectors @ torch.where(noise, flat, values).diag() @ vectors.T


def lost(W, cols, D, mean, of):
    "Share of the output's variance that is lost with `D` on the columns `cols`, on rows with other sums"
    E = W.clone()  # of what is missing
    E[cols] -= D
    bias = (of[1] - mean) @ E
    return (((E * (of[0] @ E)).sum() + bias @ bias) / (W * (of[0] @ W)).sum()).item()


@dataclass
class Layer:
    "What a few images say about the inputs of one output layer"

    W: torch.Tensor  # its weights `[p,q]`
    fit: tuple  # `(covariance, mean)`
    choose: tuple  # of other images
    images: int  # in `fit`

    @cached_property
    def flat(self):
        "The covariance without noise"
        return denoised(self.fit[0], self.images)

    @cached_property
    def signal(self):
        "Variances of which noise has no part"
        return denoised(self.fit[0], self.images, floor=False).diagonal()

    def selections(self, keep):
        "Neurons to keep, by name of the choice"
        G, _ = self.fit
        n = round(keep * len(G))
        mixed = keep * G.diagonal() + (1 - keep) * self.signal
        return {
            'greedy': greedy(G, self.W)[0][:n],
            'greedy, denoised': greedy(self.flat, self.W)[0][:n],
            'variance': (G.diagonal() * self.W.pow(2).sum(1)).topk(n).indices,
            'variance, denoised': mixed.topk(n).indices,
        }

    def best_of(self, cols, covariances):
        "The weights that lose least on the choosing images, of those that each covariance gives"
        G, mean = self.fit
        found = [solve_ridge(A[cols][:, cols], A[cols] @ self.W, s) for A, s in covariances]
        return min(found, key=lambda D: lost(self.W, cols, D, mean, self.choose))

    def solves(self, cols):
        "Output weights of the neurons kept, by name of the solve"
        G, _ = self.fit
        diagonal = G.diagonal().diag()
        shrunk = [(G + s * diagonal, 1e-9) for s in strengths]
        return {
            'ridge': self.best_of(cols, [(G, s) for s in strengths]),
            'towards the diagonal': self.best_of(cols, shrunk),
            'denoised': self.best_of(cols, [(self.flat, s) for s in strengths]),
        }


def layers_of(model, net, few):
    "What a few-shot set says about the output layer of every MLP, by block"
    splits = few.splits
    fit, choose = Batches(few, splits.fit), Batches(few, splits.choose)
    stats = statistics(model, net, [fit, choose])
    found = {}
    for i, which in stats:
        if which == 'mlp':
            W = weights_of(output_layer(model, net.blocks[i], which))
            stat = stats[i, which]
            of_fit, of_choose = ((s.G, s.mean) for s in (stat, stat.sets[-1]))
            found[i] = Layer(W, of_fit, of_choose, len(splits.fit))
    return found


def errors(layers, truth, keep):
    "`{(choice, solve): error in each block}` with a share of the neurons left"
    found = {}
    for i, layer in layers.items():
        of = truth[i, 'mlp'].G, truth[i, 'mlp'].mean
        for choice, cols in layer.selections(keep).items():
            for solve, D in layer.solves(cols).items():
                error = lost(layer.W, cols, D, layer.fit[1], of)
                found.setdefault((choice, solve), []).append(error)
    return found


def rows(model, few, others, keeps):
    "The mean error over the blocks, of every share of the neurons, choice and solve"
    net = read(model)
    layers = layers_of(model, net, few)
    truth = statistics(model, net, [others, Batches(few, few.splits.choose)])
    for keep in keeps:
        for (choice, solve), each in errors(layers, truth, keep).items():
            yield dict(keep=keep, choice=choice, solve=solve, error=np.mean(each))


@call_parse
def main(
    teacher: str,
    data: str,
    out: str = 'nbs/results/covariances.csv',
    n: str = '50,500',
    seeds: str = '0,1,2',
    keeps: str = '.5,.25,.125',  # shares of the hidden neurons
    threads: int = 2,
):
    "One row for each split, share of the neurons, choice and solve: the mean over the blocks"
    torch.set_num_threads(threads)
    model, source, x, _ = load(teacher, data)
    table = Table(out)
    for count, seed in product(numbers(n, int), numbers(seeds, int)):
        few = few_shot(source, data_config(model), count, seed)
        for row in rows(model, few, x[:3000].split(64), numbers(keeps)):
            table.add(n=count, seed=seed, **row)
