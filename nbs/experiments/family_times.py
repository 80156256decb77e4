"""How long a family takes, how large it is, and how good its students are. Needs a quiet machine for the times.

python nbs/experiments/family_times.py TEACHER.json DATA --out nbs/results/family_cifar
"""

import json
import tempfile
from pathlib import Path

import torch
from common import load, timed
from fastcore.script import Param, call_parse

import dcvit
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.measure import logits, top1
from dcvit.images.splits import spread


def size_of(folder):
    return sum(file.stat().st_size for file in Path(folder).iterdir())


def times(family, budgets, x, labels):
    "Seconds of single students, of predictions, and of many students"
    at = {}
    for keep in (0.9, 0.75, 0.6, 0.5, 0.4):
        student, seconds = timed(lambda keep=keep: family.at(keep_macs=keep))
        at[keep] = dict(seconds=seconds, top1=top1(logits(student, x), labels))
    table, predicted = timed(lambda: family.curve(budgets, batch=64, progress=False))
    _, students = timed(lambda: [family.at(keep_macs=float(q)) for q in table.keep_macs])
    return dict(at=at, predicted_curve=predicted, all_students=students)


def made_and_kept(model, few, seed):
    "`(family as loaded from its folder, seconds to make, bytes on disk)`"
    how = dict(budgets=(0.4, 0.95), seed=seed, progress=False)
    family, seconds = timed(lambda: dcvit.family(model, few.images or few.pixels, **how))
    folder = family.save(Path(tempfile.mkdtemp()) / 'family')
    return dcvit.load_family(folder), seconds, size_of(folder)


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/family',
    n: int = 500,
    seed: int = 0,
    budgets: int = 100,
    images: int = 1000,
):
    "Write OUT.json and OUT_curve.csv"
    model, source, x, labels = load(teacher, data)
    idx = spread(len(x), images)
    x = x[idx]
    labels = labels[idx]
    few = few_shot(source, data_config(model), n, seed)
    family, seconds, size = made_and_kept(model, few, seed)
    teachers = size / sum(p.nbytes for p in model.parameters())
    report = dict(made=seconds, phases=family.report['seconds'], bytes=size)
    report |= dict(threads=torch.get_num_threads(), teachers=teachers)
    report |= dict(times(family, budgets, x, labels), budgets=budgets)
    curve = family.curve(budgets // 4, images=x, labels=labels, polish=True, progress=False)
    curve.to_csv(f'{out}_curve.csv', index=False)
    Path(f'{out}.json').write_text(json.dumps(report, indent=1))
    print(report)
