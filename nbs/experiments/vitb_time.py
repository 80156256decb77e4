"""A teacher of ViT-B/16's shapes (random weights) at 224 pixels: seconds and memory of the paper's pipeline with so
many steps, of `closed-form`, and of a family of many sizes.

python nbs/experiments/vitb_time.py IMAGES nbs/results/vitb_time.json
"""

import json
import time
from pathlib import Path

import numpy as np
import timm
import torch
from fastcore.script import call_parse

import dcvit

KEPT = ('seconds', 'passes', 'pass_seconds', 'memory', 'environment')


def reported(made, start):
    "What a report says of time and memory, with the seconds of the whole call"
    report = {key: made.report.get(key) for key in KEPT}
    return dict(report, total=time.time() - start)


def paper(model, images, epochs, how):
    "The paper's pipeline with so many steps of each kind, where it takes 2000"
    lengths = dict.fromkeys(('trial_length', 'step_length', 'metric_iters', 'views'), epochs)
    recipe = dcvit.PaperRecipe(**lengths)
    start = time.time()
    made = dcvit.compress(model, images, n=50, keep_macs=0.834, recipe=recipe, **how)
    return dict(reported(made, start), epochs=epochs, chosen=made.report['chosen'])


def closed_form(model, images, how):
    start = time.time()
    made = dcvit.compress(model, images, n=50, keep_macs=0.75, recipe='closed-form', **how)
    return reported(made, start)


def timed(work):
    "`(result, seconds)`"
    start = time.time()
    return work(), time.time() - start


def several(family, shares):
    "Put students together, one after the other"
    for share in shares:
        family.at(keep_macs=share, polish=False)


def family(model, images, sizes, how):
    "A family, and students of it at so many budgets: from statistics alone, and one that is refitted"
    made, seconds = timed(lambda: dcvit.family(model, images, n=50, **how))
    shares = np.linspace(0.4, 0.95, sizes).tolist()
    _, students = timed(lambda: several(made, shares))
    _, refitted = timed(lambda: made.at(keep_macs=0.75))
    phases = made.report['seconds']
    return dict(made=seconds, students=students, refitted=refitted, phases=phases, sizes=sizes)


def measured(part, model, images, epochs, sizes, how):
    "What is seen of one part"
    if part == 'paper':
        return paper(model, images, epochs, how)
    if part == 'family':
        return family(model, images, sizes, how)
    return closed_form(model, images, how)


@call_parse
def main(
    images: str,  # folder with at least 50 images
    out: str,  # JSON
    model: str = 'vit_base_patch16_224',
    epochs: int = 20,  # of each trial, of each step, and of the inversion
    sizes: int = 100,  # of the family
    device: str = 'cuda',
    parts: str = 'closed_form,paper,family',
):
    "Run and write what was seen after each part"
    torch.manual_seed(0)
    teacher = timm.create_model(model).eval()
    how = dict(device=device, progress=False)
    found = dict(model=model)
    for part in parts.split(','):
        found[part] = measured(part, teacher, images, epochs, sizes, how)
        print(part, found[part], flush=True)
    Path(out).write_text(json.dumps(found, indent=1))
