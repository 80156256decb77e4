"""What students predict for images of another kind than those that they were made with.

The arguments are those of domains.py. Half of the photographs compress, the other half tests; drawn images that test
come from other seeds. The few-shot images of 'mixed' are of all kinds, as many of each.

python nbs/experiments/targets.py nbs/experiments/teachers/vit.json DATA PHOTOGRAPHS --out nbs/results/targets.csv
"""

import random
from itertools import product

import torch
from common import numbers
from domains import Bench as Domains
from domains import draw, drawn
from fastcore.script import call_parse
from PIL import Image

from dcvit.images.config import data_config
from dcvit.images.decode import image_files
from dcvit.images.images import few_shot
from dcvit.images.measure import Judge
from dcvit.images.splits import Batches

other_seed = 1_000_000  # no few-shot images are drawn from it


class Bench(Domains):
    "A teacher, a judge for every kind of images, and the table"

    def __init__(self, teacher, data, photographs, tests, out):
        super().__init__(teacher, data, tests, out)
        paths = image_files(photographs)
        self.files['photographs'] = paths[::2]
        self.judges = dict(own=self.judge, photographs=self.judge_on(paths[1::2], tests))
        for kind in drawn:
            self.judges[kind] = self.judge_on(self.images(kind, tests, other_seed), tests)

    def images(self, source, n, seed):
        "A folder or files, images that are drawn here, or some of each"
        if source != 'mixed':
            return super().images(source, n, seed)
        each = n // len(self.judges)
        some = [random.Random(seed).sample(files, each) for files in self.files.values()]
        found = [Image.open(path) for paths in some for path in paths]
        return found + [image for kind in drawn for image in draw(kind, self.model, each, seed)]

    def judge_on(self, images, tests):
        "Compares students with the teacher on up to so many of these images"
        few = few_shot(images, data_config(self.model), min(tests, len(images)))
        return Judge(self.model, Batches(few))

    def add(self, keys):
        "Append a row for every kind of images to test on"
        missing = [kind for kind in self.judges if not self.table.has(**keys, target=kind)]
        if not missing:
            return
        student = self.compressed(**keys).model
        for kind in missing:
            self.table.add(**keys, target=kind, **self.judges[kind].scores(student))


@call_parse
def main(
    teacher: str,
    data: str,
    photographs: str,
    keep: float = 0.5,  # fraction of the teacher's MACs
    seeds: str = '0,1,2',
    n: int = 500,  # few-shot images
    tests: int = 2000,  # test images of each kind, where there are so many
    recipe: str = 'closed-form',
    out: str = 'nbs/results/targets.csv',  # finished rows are kept and not run again
):
    "Run every combination and append its rows"
    torch.set_num_threads(1)
    bench = Bench(teacher, data, photographs, tests, out)
    for seed, source in product(numbers(seeds, int), [*bench.files, *drawn, 'mixed']):
        bench.add(dict(source=source, n=n, seed=seed, keep=keep, recipe=recipe))
