"""A teacher of ViT-B/16's shapes (random weights) at 224 pixels: seconds and memory of the paper's pipeline with so
many steps, of `closed-form`, and of a family of many sizes.

python nbs/experiments/vitb_time.py IMAGES nbs/results/vitb_time.json
"""

import json
from pathlib import Path

import numpy as np
import timm
import torch
from common import timed
from fastcore.script import call_parse

import dcvit


def compressed(model, images, keep_macs, recipe, how):
    "What the report says of time and memory, with the seconds of the whole call"
    how = dict(how, n=50, keep_macs=keep_macs, recipe=recipe)
    made, total = timed(lambda: dcvit.compress(model, images, **how))
    kept = ('seconds', 'passes', 'pass_seconds', 'memory', 'environment', 'chosen')
    return dict({key: made.report[key] for key in kept}, total=total)


def closed_form(model, images, how):
    return compressed(model, images, 0.75, 'closed-form', how)


def paper(model, images, how, epochs=20):
    "The paper's pipeline with so many steps of each kind, where it takes 2000"
    lengths = dict.fromkeys(('trial_length', 'step_length', 'metric_iters', 'views'), epochs)
    recipe = dcvit.PaperRecipe(**lengths)
    return dict(compressed(model, images, 0.834, recipe, how), epochs=epochs)


def several(family, shares):
    "Put students together, one after the other"
    for share in shares:
        family.at(keep_macs=share, polish=False)


def family(model, images, how, sizes=100):
    "A family, and students of it at so many budgets: from statistics alone, and one that is refitted"
    made, seconds = timed(lambda: dcvit.family(model, images, n=50, **how))
    shares = np.linspace(0.4, 0.95, sizes).tolist()
    _, students = timed(lambda: several(made, shares))
    _, refitted = timed(lambda: made.at(keep_macs=0.75))
    phases = made.report['seconds']
    return dict(made=seconds, students=students, refitted=refitted, phases=phases, sizes=sizes)


@call_parse
def main(
    images: str,  # folder with at least 50 images
    out: str,  # JSON
    model: str = 'vit_base_patch16_224',
    device: str = 'cuda',
):
    "Run the parts, and write after each what was seen"
    torch.manual_seed(0)
    teacher = timm.create_model(model).eval()
    how = dict(device=device, progress=False)
    found = dict(model=model)
    for name, part in dict(closed_form=closed_form, paper=paper, family=family).items():
        found[name] = part(teacher, images, how)
        Path(out).write_text(json.dumps(found, indent=1))
        print(name, found[name], flush=True)
