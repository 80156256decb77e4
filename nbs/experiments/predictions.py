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
from real import Bench, imagenet_id, labelled_files, split, teacher_of


def class_name(path):
    "The class of a photograph in words: what its name has behind the ImageNet id, or its folder"
    found = imagenet_id.match(Path(path).name)
    return (
        Path(path).stem[found.end() :].strip('_').replace('_', ' ')
        if found
        else Path(path).parent.name
    )


def a_dozen(distances):
    "`{index: how it was picked}`: the first six images, which are at random, and the furthest six of the others"
    furthest = 6 + distances[6:].argsort(descending=True)[:6]
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
    model = teacher_of(teacher, weights)
    files = labelled_files(images, model.num_classes)
    bench = Bench(
        model, files, n, tests, seed, dict(architecture=teacher, args={}) if weights else None
    )
    outputs = dict(teacher=bench.judge.expected)
    for keep in numbers(keeps):
        student = bench.compressed('closed-form', keep).model
        outputs[keep] = bench.judge.outputs(student)
    picked = a_dozen(bench.judge.distances(student))
    names = {index: class_name(path) for path, index in files.items()}
    photos = split(files, n, tests, seed)[1]
    pd.DataFrame(rows(photos, outputs, names, picked)).round(4).to_csv(out, index=False)
