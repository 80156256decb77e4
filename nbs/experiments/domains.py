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


def clouds(rng, side):
    "Colours whose contrast falls with the frequency, as it does in photographs"
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectrum = np.fft.fft2(rng.normal(size=(3, side, side))) / np.maximum(frequency, 1 / side)
    pixels = np.fft.ifft2(spectrum).real
    low, high = (np.percentile(pixels, p, (1, 2), keepdims=True) for p in (1, 99))
    pixels = ((pixels - low) / (high - low)).clip(0, 1)
    return Image.fromarray((255 * pixels.transpose(1, 2, 0)).astype(np.uint8))


def shapes(rng, side):
    "Rectangles and ellipses on one colour"

    def colour():
        return tuple(rng.integers(0, 256, 3).tolist())

    image = Image.new('RGB', (4 * side, 4 * side), colour())
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(2, 9)):
        x, y = np.sort(rng.integers(0, 4 * side, (2, 2))).tolist()
        shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
        shape((x[0], y[0], x[1], y[1]), fill=colour())
    return image.resize((side, side), Image.LANCZOS)


drawn = dict(shapes=shapes, clouds=clouds, noise=noise)


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
    model, own, x, labels = load(teacher, data)
    some = spread(len(x), tests)
    judge, labels = Judge(model, x[some]), labels[some]
    table, side = Table(out), input_shape(model)[-1]
    sources = dict(own=own, photographs=photographs, **drawn)
    asked = product(numbers(keeps), numbers(seeds, int), sources.items())
    for keep, seed, (name, source) in asked:
        keys = dict(source=name, n=n, seed=seed, keep=keep, recipe=recipe)
        if table.has(**keys):
            continue
        if name in drawn:
            rng = np.random.default_rng(seed)
            source = [source(rng, side) for _ in range(n)]
        how = dict(n=n, seed=seed, keep_macs=keep, recipe=recipe, timing=False, progress=False)
        made = dcvit.compress(model, source, **how)
        check = made.report['fidelity']['check']
        said = dict(check_kl=check['kl'], check_agreement=check['agreement'])
        table.add(**keys, **said, **measured(made, judge, labels))
