"""What is lost where the few-shot images are of another kind than those that the teacher knows.

TEACHER is a JSON file that names a timm model; DATA has train/ and test/ with one folder per class; PHOTOGRAPHS is any
other folder of images. Shapes, clouds and noise are drawn here.

python nbs/experiments/domains.py nbs/experiments/teachers/vit.json DATA PHOTOGRAPHS --out nbs/results/domains.csv
"""

from itertools import product

import numpy as np
import torch
from common import Table, load, measured, numbers
from fastcore.script import call_parse
from PIL import Image, ImageDraw

import dcvit
from dcvit.images.measure import Judge
from dcvit.images.splits import spread
from dcvit.model.tracing import input_shape


def noise(rng, side):
    "Pixels that know nothing of each other"
    return Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))


def as_image(pixels):
    "Numbers `[3,h,w]` as an image, all but the outer hundredths of each colour in range"
    low, high = (np.percentile(pixels, p, (1, 2), keepdims=True) for p in (1, 99))
    pixels = ((pixels - low) / (high - low)).clip(0, 1)
    return Image.fromarray((255 * pixels.transpose(1, 2, 0)).astype(np.uint8))


def clouds(rng, side):
    "Colours whose contrast falls with the frequency, as it does in photographs"
    each = np.fft.fftfreq(side)
    frequency = np.hypot(*np.meshgrid(each, each))
    spectrum = np.fft.fft2(rng.normal(size=(3, side, side))) / np.maximum(frequency, 1 / side)
    return as_image(np.fft.ifft2(spectrum).real)


def colour(rng):
    return tuple(rng.integers(0, 256, 3).tolist())


def shapes(rng, side):
    "Rectangles and ellipses on one colour"
    image = Image.new('RGB', (4 * side, 4 * side), colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(2, 9)):
        corners = np.sort(rng.integers(0, 4 * side, (2, 2))).T.flatten()
        shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
        shape(corners.tolist(), fill=colour(rng))
    return image.resize((side, side), Image.LANCZOS)


drawn = dict(shapes=shapes, clouds=clouds, noise=noise)


def draw(kind, model, n, seed):
    "So many images of a kind, in the size that a model takes"
    rng, side = np.random.default_rng(seed), input_shape(model)[-1]
    return [drawn[kind](rng, side) for _ in range(n)]


class Bench:
    "A teacher, test images, and the table"

    def __init__(self, teacher, data, tests, out):
        self.model, own, x, labels = load(teacher, data)
        some = spread(len(x), tests)
        self.judge, self.labels = Judge(self.model, x[some]), labels[some]
        self.files = dict(own=own)
        self.table = Table(out)

    def images(self, source, n, seed):
        "A folder or files, or images that are drawn here"
        if source in self.files:
            return self.files[source]
        return draw(source, self.model, n, seed)

    def compressed(self, source, n, seed, keep, recipe):
        images = self.images(source, n, seed)
        how = dict(n=n, seed=seed, recipe=recipe, timing=False, progress=False)
        return dcvit.compress(self.model, images, keep_macs=keep, **how)

    def add(self, keys):
        "Append a row that is not there"
        if self.table.has(**keys):
            return
        made = self.compressed(**keys)
        check = made.report['fidelity']['check']
        said = dict(check_kl=check['kl'], check_agreement=check['agreement'])
        self.table.add(**keys, **said, **measured(made, self.judge, self.labels))


@call_parse
def main(
    teacher: str,
    data: str,
    photographs: str,
    keeps: str = '.5,.75',  # fractions of the teacher's MACs
    seeds: str = '0,1,2',
    n: int = 500,  # few-shot images
    tests: int = 2000,  # test images
    recipe: str = 'closed-form',
    out: str = 'nbs/results/domains.csv',  # finished rows are kept and not run again
):
    "Run every combination and append a row for each"
    torch.set_num_threads(1)
    bench = Bench(teacher, data, tests, out)
    bench.files['photographs'] = photographs
    sources = [*bench.files, *drawn]
    for keep, seed, source in product(numbers(keeps), numbers(seeds, int), sources):
        bench.add(dict(source=source, n=n, seed=seed, keep=keep, recipe=recipe))
