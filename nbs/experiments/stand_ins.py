"""What a linear map can stand in for: attentions and MLPs of a plain transformer, one at a time, and runs of blocks.

The squared error of what is added to the state, on other images and as a share of its variance, by what the stand-in
costs: a linear map of each token, of some rank; the best neurons of an MLP; an attention with narrower heads; blocks
that have all three made smaller.

python nbs/experiments/stand_ins.py nbs/experiments/teachers/vit.json DATA --n 500
"""

from dataclasses import dataclass, replace
from itertools import product

import torch
from common import Table, load, numbers
from fastcore.script import call_parse

from dcvit.base.hooks import watched
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.splits import Batches
from dcvit.model.reading import read
from dcvit.model.structure import cost, intact, whole
from dcvit.search.assemble import assemble
from dcvit.search.bases import directions
from dcvit.search.ridge import Moments, Origin, solve_ridge
from dcvit.search.statistics import statistics, take_in

branches = dict(mixer=('norm1', 'attn'), mlp=('norm2', 'mlp'))
ranks = (4, 8, 16, 32, 64, 128)
shares = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)  # of the neurons, or of the width of heads


@dataclass(frozen=True)
class Place:
    "Something that adds to the state of a model, as two modules see it: what enters, and what was added"

    before: str  # module that puts out what enters
    after: str  # module that puts out what is added, or the state with it
    adds: bool  # whether the second puts out the state
    macs: float  # of the teacher there

    def rows(self, model, images):
        "What enters and what is added, token by token, batch by batch"
        watched_modules = dict(
            x=model.get_submodule(self.before), y=model.get_submodule(self.after)
        )
        found = {}
        with (
            torch.no_grad(),
            watched(watched_modules, lambda c: found.update({c.key: c.output})),
        ):
            for images_of_batch in images:
                model(images_of_batch)
                x, y = found['x'].flatten(0, 1), found['y'].flatten(0, 1)
                yield x, (y - x if self.adds else y)


def of_part(block, which):
    "Where a part reads the normed state, and what it adds"
    norm, branch = branches[which]
    name = block.name
    return Place(f'{name}.{norm}', f'{name}.{branch}', False, block.part(which).whole.macs)


def of_run(net, first, length):
    "Where a run of blocks reads the state, and what it adds"
    run = net.blocks[first : first + length]
    before = net.blocks[first - 1].name
    return Place(before, run[-1].name, True, sum(block.whole.macs for block in run))


def moments(model, place, images, origin):
    "Least-squares sums of what is added on what enters"
    sums = Moments(origin)
    for x, y in place.rows(model, images):
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


def narrow_error(teacher, student, place, images):
    "Error of what a smaller student adds there"
    pairs = zip(place.rows(teacher, images), place.rows(student, images), strict=True)
    outputs = [(theirs, own) for (_, theirs), (_, own) in pairs]
    theirs, own = (torch.cat(side) for side in zip(*outputs, strict=True))
    return ((own - theirs).pow(2).sum() / (theirs - theirs.mean(0)).pow(2).sum()).item()


def smaller(block, share):
    "What is left of a block with a share of its neurons and of the width of its heads; None where no width is left"
    left = narrowed(block, 'mixer', share)
    return left and replace(left, mlp=narrowed(block, 'mlp', share).mlp)


class Bench:
    "A teacher, statistics of a few images, other images, and the table"

    def __init__(self, model, few, other, table):
        self.model = model
        self.net = read(model)
        fit, choose = Batches(few, few.splits.fit), Batches(few, few.splits.choose)
        self.stats = statistics(model, self.net, [fit, choose])
        take_in(self.stats)
        self.stats |= directions(model, self.net, self.stats, fit)
        self.few = Batches(few)
        self.other = other
        self.table = table

    def linear(self, place, **keys):
        "Rows of linear maps"
        origin = Origin()
        fit = moments(self.model, place, self.few, origin)
        other = moments(self.model, place, self.other, origin)
        width, tokens = self.net.sequence.width, self.net.sequence.tokens
        for rank, error in linear_errors(fit, other).items():
            macs = tokens * width * 2 * rank
            self.table.add(**keys, kind='linear', size=rank, macs=macs / place.macs, error=error)

    def narrow(self, place, lefts, size, **keys):
        "The row of a student with some blocks made smaller"
        structure = whole(self.net)
        for i, left in lefts.items():
            structure = structure.set(i, left)
        saved = self.net.total.macs - cost(self.net, structure).macs
        student = assemble(self.model, self.net, structure, self.stats)
        error = narrow_error(self.model, student, place, self.other)
        self.table.add(**keys, kind='narrower', size=size, macs=1 - saved / place.macs, error=error)

    def part(self, block, which):
        "Rows of one part"
        place = of_part(block, which)
        keys = dict(block=block.index, part=which)
        self.linear(place, **keys)
        for share in shares:
            left = narrowed(block, which, share)
            if left is not None:
                size = left.mlp if which == 'mlp' else left.widths[0]
                self.narrow(place, {block.index: left}, size, **keys)

    def run(self, first, length):
        "Rows of a run of blocks; the smaller blocks have the same share of everything"
        place = of_run(self.net, first, length)
        keys = dict(block=first, part=f'{length} blocks')
        self.linear(place, **keys)
        for share in shares[1:-1]:
            lefts = {b.index: smaller(b, share) for b in self.net.blocks[first : first + length]}
            if all(lefts.values()):
                self.narrow(place, lefts, share, **keys)


@call_parse
def main(
    teacher: str,
    data: str,
    out: str = 'nbs/results/stand_ins.csv',
    n: int = 500,
    tests: int = 300,
    parts: str = 'mixer,mlp',
    lengths: str = '2,3,4',  # of runs of blocks
    threads: int = 2,
):
    "One row for each part or run of blocks, kind and size"
    torch.set_num_threads(threads)
    model, source, x, _ = load(teacher, data)
    few = few_shot(source, data_config(model), n, 0)
    bench = Bench(model, few, x[:tests].split(50), Table(out))
    for block, which in product(bench.net.blocks, filter(None, parts.split(','))):
        bench.part(block, which)
    for length in numbers(lengths, int):
        for first in range(1, len(bench.net) - length + 1):
            bench.run(first, length)
