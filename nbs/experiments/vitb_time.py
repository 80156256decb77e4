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


def family(model, images, sizes, how):
    "A family, and students of it at so many budgets: from statistics alone, and one that is refitted"
    start = time.time()
    made = dcvit.family(model, images, n=50, **how)
    seconds = dict(made=time.time() - start)
    start = time.time()
    for share in np.linspace(0.4, 0.95, sizes).tolist():
        made.at(keep_macs=share, polish=False)
    seconds['students'] = time.time() - start
    start = time.time()
    made.at(keep_macs=0.75)
    seconds['refitted'] = time.time() - start
    return dict(seconds, phases=made.report['seconds'], sizes=sizes)


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
    found = json.loads(Path(out).read_text()) if Path(out).exists() else dict(model=model)
    work = dict(
        closed_form=lambda: closed_form(teacher, images, how),
        paper=lambda: paper(teacher, images, epochs, how),
        family=lambda: family(teacher, images, sizes, how),
    )
    for name in parts.split(','):
        found[name] = work[name]()
        Path(out).write_text(json.dumps(found, indent=1))
        print(name, json.dumps(found[name]), flush=True)
