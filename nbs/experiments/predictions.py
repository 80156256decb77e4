"""What a real teacher and its students in closed form predict for a dozen photographs that none of them has seen.

Six are drawn at random; the other six are those for which the smallest student is furthest from the teacher. Arguments
are those of real.py.

python nbs/experiments/predictions.py tf_efficientnet_lite0 IMAGES --weights FILE.pth
"""

from pathlib import Path

import pandas as pd
import torch
from common import numbers
from fastcore.script import Param, call_parse
from real import benches, imagenet_id, labelled_files

from dcvit.images.measure import distances


def class_name(path):
    "The class of a photograph in words: what its name has behind the ImageNet id, or its folder"
    path = Path(path)
    found = imagenet_id.match(path.name)
    return path.stem[found.end() + 1 :].replace('_', ' ') if found else path.parent.name


def names_of(images, model):
    "The name of each class"
    files = labelled_files(images, model.num_classes)
    return {index: class_name(path) for path, index in files.items()}


def a_dozen(outputs):
    "`{index: how it was picked}`: the first six images, which are at random, and the furthest six of the others"
    teacher, *_, smallest = outputs.values()
    lost = distances(teacher, smallest, teacher.shape[1])
    furthest = 6 + lost[6:].argsort(descending=True)[:6]
    return {i: 'at random' for i in range(6)} | {i.item(): 'furthest' for i in furthest}


def rows(photos, outputs, names, picked):
    "What each model predicts for each photograph, and how likely it and the teacher's class seem to it"
    expected = outputs['teacher'].argmax(1)
    for model, out in outputs.items():
        likely = out.softmax(1)
        for i, how in picked.items():
            best = likely[i].argmax().item()
            yield dict(
                photograph=Path(photos[i]).stem,
                picked=how,
                model=model,
                predicted=names[best],
                probability=likely[i, best].item(),
                of_teachers_class=likely[i, expected[i]].item(),
            )


def outputs_of(bench, keeps):
    "Outputs for the test photographs, of the teacher and of a student at each budget"
    students = {keep: bench.compressed('closed-form', keep).model for keep in keeps}
    outputs = {keep: bench.judge.outputs(student) for keep, student in students.items()}
    return dict(teacher=bench.judge.expected) | outputs


@call_parse
def main(
    teacher: str,
    images: str,
    weights: Param('local weights, in the order of the timm model', str) = None,
    n: int = 500,
    tests: int = 500,
    keeps: str = '.9,.75,.6',  # the smallest last
    seed: int = 0,
    out: str = 'nbs/results/predictions.csv',
    threads: int = 2,
):
    "Compress to each budget and write the table"
    torch.set_num_threads(threads)
    bench = benches(teacher, images, weights, n, tests)(seed)
    outputs = outputs_of(bench, numbers(keeps))
    table = rows(bench.tests, outputs, names_of(images, bench.model), a_dozen(outputs))
    pd.DataFrame(table).round(4).to_csv(out, index=False)
