"""Whether what parts lose alone adds up: the same blocks narrowed, or left out, alone and together.

TEACHER is a JSON file that names a timm model, or the name of a timm model with WEIGHTS in its order; IMAGES is a
folder of images of any kind that the teacher knows. Blocks are taken in random orders.

python nbs/experiments/company.py tf_efficientnet_lite0 IMAGES --weights FILE.pth --out nbs/results/company.csv
python nbs/experiments/company.py nbs/experiments/teachers/vit.json DATA/train --out nbs/results/company.csv
"""

import random
from pathlib import Path

from common import Table, numbers
from fastcore.script import Param, call_parse
from real import teacher_of

from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.run import Run
from dcvit.model.reading import read
from dcvit.model.structure import Left, whole
from dcvit.search.assemble import Assembler
from dcvit.search.dropping import loss_of
from dcvit.search.replay import Replay
from dcvit.search.statistics import statistics_of
from dcvit.search.units import for_many


def changed(net, blocks, share):
    "The structure in which these blocks keep a share of their hidden units, or are gone where it is 0"
    structure = whole(net)
    for i in blocks:
        left = Left(0, 0)
        if share:
            left = Left(structure[i].mixer, max(1, round(share * net.blocks[i].mlp.units)))
        structure = structure.set(i, left)
    return structure


class Bench:
    "A teacher, statistics of a few images, and others to judge with"

    def __init__(self, model, few):
        self.net = read(model)
        run = Run(teacher=model, net=self.net, few=few, progress=False)
        self.assembler = Assembler(model, self.net, for_many(statistics_of(run)))
        self.judge = Replay(model, self.net, run.batches('choose'), tempered=True)

    def loss(self, blocks, share):
        return loss_of(changed(self.net, blocks, share), self.assembler, self.judge)

    def rows(self, share, orders):
        "Losses together and summed, for growing numbers of blocks in random orders"
        blocks = [b.index for b in self.net.blocks if share or b.droppable]
        alone = {i: self.loss([i], share) for i in blocks}
        for order in range(orders):
            random.Random(order).shuffle(blocks)
            summed = 0
            for count, i in enumerate(blocks, 1):
                summed += alone[i]
                together = self.loss(blocks[:count], share)
                yield dict(order=order, count=count, summed=summed, together=together)


@call_parse
def main(
    teacher: str,
    images: str,
    weights: Param('local weights, in the order of the timm model', str) = None,
    n: int = 200,  # few-shot images
    shares: str = '0,.75,.5',  # of the hidden units that stay; 0: the block is left out
    orders: int = 5,  # random orders of the blocks
    out: str = 'nbs/results/company.csv',
):
    "One row for each share, order and number of blocks"
    model = teacher_of(teacher, weights)
    model.requires_grad_(False)
    bench, table = Bench(model, few_shot(images, data_config(model), n)), Table(out)
    for share in numbers(shares):
        for row in bench.rows(share, orders):
            table.add(teacher=Path(teacher).stem, share=share, **row)
