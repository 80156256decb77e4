"""Time the paper's whole pipeline on ViT-B/16 at 224 (random weights) with 50 images, and say where the time goes.

python nbs/experiments/vitb_time.py IMAGES nbs/results/vitb_time.json
"""

import json
import time
from pathlib import Path

import timm
import torch
from fastcore.script import call_parse

import dcvit


def reported(images, epochs, **how):
    "What the report says of the paper's pipeline on a ViT-B/16"
    model = timm.create_model('vit_base_patch16_224')
    lengths = dict.fromkeys(('trial_length', 'step_length', 'metric_iters', 'views'), epochs)
    report = dcvit.compress(model, images, n=50, recipe=dcvit.PaperRecipe(**lengths), **how).report
    keys = ('seconds', 'chosen', 'latency', 'memory', 'environment')
    return {key: report[key] for key in keys}


@call_parse
def main(
    images: str,  # folder with at least 50 images
    out: str,  # JSON
    epochs: int = 2000,  # per trial and per step
    keep_macs: float = 0.834,
    device: str = 'cuda',
    workers: int = 15,
):
    "Run and report"
    torch.manual_seed(0)
    start = time.time()
    how = dict(keep_macs=keep_macs, device=device, workers=workers, progress=False)
    found = dict(epochs=epochs, keep_macs=keep_macs, **reported(images, epochs, **how))
    found['total'] = time.time() - start
    Path(out).write_text(json.dumps(found, indent=1))
    print(json.dumps(found['seconds']), found['total'])
