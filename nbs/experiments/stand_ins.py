"""What a linear map can stand in for: attentions and MLPs of a plain transformer, one at a time.

The squared error of a part's output on other images, as a share of its variance, by what the stand-in costs: a linear
map of the normed state of each token, of some rank; the best neurons of an MLP; an attention with narrower heads.

python nbs/experiments/stand_ins.py nbs/experiments/teachers/vit.json DATA --n 500
"""

from dataclasses import replace

import torch
from common import Table, load
from fastcore.script import call_parse

from dcvit.base.hooks import watched
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.splits import Batches
from dcvit.model.reading import read
from dcvit.model.structure import intact, whole
from dcvit.search.assemble import assemble
from dcvit.search.bases import directions
from dcvit.search.ridge import Moments, Origin, solve_ridge
from dcvit.search.statistics import statistics, take_in

branches = dict(mixer=('norm1', 'attn'), mlp=('norm2', 'mlp'))
ranks = (4, 8, 16, 32, 64, 128)
shares = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)  # of the neurons, or of the width of heads


def rows_of(model, block, which, images):
    "What enters and what leaves a branch, token by token, batch by batch"
    module = model.get_submodule(block.name)
    norm, branch = (getattr(module, name) for name in branches[which])
    found = {}
    with (
        torch.no_grad(),
        watched(dict(x=norm, y=branch), lambda c: found.update({c.key: c.output})),
    ):
        for images_of_batch in images:
            model(images_of_batch)
            yield found['x'].flatten(0, 1), found['y'].flatten(0, 1)


def moments(model, block, which, images, origin):
    "Least-squares sums of a branch's output on what enters it"
    sums = Moments(origin)
    for x, y in rows_of(model, block, which, images):
        sums.add(x, y)
    return sums


def linear_errors(fit, other):
    "`{rank: error}` of the linear maps of lower rank that are closest on the few images"
    G, C, f, r = fit.centred()
    D = solve_ridge(G, C, 1e-4)
    variance = other.power - other.means[3].pow(2).sum().item()
    damped = G + 1e-6 * G.diagonal().mean() * torch.eye(len(G), dtype=G.dtype)
    V = torch.linalg.svd(torch.linalg.cholesky(damped).T @ D).Vh
    maps = {rank: D @ V[:rank].T @ V[:rank] for rank in ranks if rank < len(V)}
    return {rank: other.error(M, f, r).item() / variance for rank, M in maps.items()}


def narrowed(block, which, share):
    "What is left of a block with a share of one part's size; None where that is nothing"
    left = intact(block)
    if which == 'mlp':
        return replace(left, mlp=round(share * block.mlp.units))
    size = round(share * block.mixer.widths.whole)
    return replace(left, widths=(size, size)) if size else None


def narrow_error(teacher, student, block, which, images):
    "Error of a branch of a student of which only this block is another"
    pairs = zip(
        rows_of(teacher, block, which, images),
        rows_of(student, block, which, images),
        strict=True,
    )
    outputs = [(theirs, own) for (_, theirs), (_, own) in pairs]
    theirs, own = (torch.cat(side) for side in zip(*outputs, strict=True))
    return ((own - theirs).pow(2).sum() / (theirs - theirs.mean(0)).pow(2).sum()).item()


class Bench:
    "A teacher, statistics of a few images, other images, and the table"

    def __init__(self, model, few, other, table):
        self.model = model
        self.net = read(model)
        fit, choose = Batches(few, few.splits.fit), Batches(few, few.splits.choose)
        self.stats = statistics(model, self.net, fit, choose)
        take_in(self.stats, model, self.net, choose)
        self.stats |= directions(model, self.net, self.stats, fit)
        self.few = Batches(few)
        self.other = other
        self.table = table

    def linear(self, block, which):
        "Rows of linear maps"
        origin = Origin()
        fit = moments(self.model, block, which, self.few, origin)
        other = moments(self.model, block, which, self.other, origin)
        of_rank = 2 * self.net.sequence.width * self.net.sequence.tokens
        for rank, error in linear_errors(fit, other).items():
            share = of_rank * rank / block.part(which).whole.macs
            self.add(block, which, 'linear', rank, share, error)

    def narrow(self, block, which):
        "Rows of the part itself, made smaller"
        for wanted in shares:
            left = narrowed(block, which, wanted)
            if left is None:
                continue
            structure = whole(self.net).set(block.index, left)
            student = assemble(self.model, self.net, structure, self.stats)
            part = block.part(which)
            macs = part.at(left.of(which), left.widths if which == 'mixer' else None).macs
            error = narrow_error(self.model, student, block, which, self.other)
            size = left.mlp if which == 'mlp' else left.widths[0]
            self.add(block, which, 'narrower', size, macs / part.whole.macs, error)

    def add(self, block, which, kind, size, share, error):
        keys = dict(block=block.index, part=which, kind=kind, size=size)
        self.table.add(**keys, macs=share, error=error)


@call_parse
def main(
    teacher: str,
    data: str,
    out: str = 'nbs/results/stand_ins.csv',
    n: int = 500,
    tests: int = 300,
    threads: int = 2,
):
    "One row for each part, kind and size"
    torch.set_num_threads(threads)
    model, source, x, _ = load(teacher, data)
    few = few_shot(source, data_config(model), n, 0)
    bench = Bench(model, few, x[:tests].split(50), Table(out))
    for block in bench.net.blocks:
        for which in branches:
            bench.linear(block, which)
            bench.narrow(block, which)
