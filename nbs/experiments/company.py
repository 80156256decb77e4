"""Whether what parts lose alone adds up: the same blocks narrowed, or left out, alone and together.

TEACHER is a JSON file that names a timm model, or the name of a timm model with WEIGHTS in its order; IMAGES is a
folder of images of any kind that the teacher knows. Blocks are taken in random orders.

python nbs/experiments/company.py tf_efficientnet_lite0 IMAGES --weights FILE.pth --out nbs/results/company.csv
python nbs/experiments/company.py nbs/experiments/teachers/vit.json DATA/train --out nbs/results/company.csv
"""

import random
from pathlib import Path

import torch
from common import Table, numbers
from fastcore.script import Param, call_parse
from real import weights_in_order

import dcvit
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.run import Run
from dcvit.model.reading import read
from dcvit.model.structure import Left, whole
from dcvit.search.assemble import Assembler
from dcvit.search.dropping import loss_of
from dcvit.search.replay import Replay
from dcvit.search.statistics import statistics_of


def changed(net, blocks, share):
    "The structure in which these blocks keep a share of their hidden units, or are gone where it is 0"
    structure = whole(net)
    for i in blocks:
        left = Left(0, 0)
        if share:
            left = Left(structure[i].mixer, max(1, round(share * net.blocks[i].mlp.units)))
        structure = structure.set(i, left)
    return structure


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
    torch.set_num_threads(1)
    model = weights_in_order(teacher, weights) if weights else dcvit.load_teacher(teacher)
    model.requires_grad_(False)
    few = few_shot(images, data_config(model), n)
    net, table = read(model), Table(out)
    run = Run(teacher=model, net=net, few=few, progress=False)
    assembler = Assembler(model, net, statistics_of(run))
    judge = Replay(model, net, run.batches('choose'), tempered=True)
    for share in numbers(shares):
        blocks = [b.index for b in net.blocks if share or b.droppable]
        alone = {i: loss_of(changed(net, [i], share), assembler, judge) for i in blocks}
        for order in range(orders):
            random.Random(order).shuffle(blocks)
            for count in range(1, len(blocks) + 1):
                some = blocks[:count]
                keys = dict(teacher=Path(teacher).stem, share=share, order=order, count=count)
                together = loss_of(changed(net, some, share), assembler, judge)
                table.add(**keys, summed=sum(alone[i] for i in some), together=together)
