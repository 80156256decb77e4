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
    model = timm.create_model('vit_base_patch16_224')
    recipe = dcvit.PaperRecipe(
        trial_length=epochs, step_length=epochs, metric_iters=epochs, views=epochs
    )
    how = dict(recipe=recipe, device=device, workers=workers, progress=False)
    report = dcvit.compress(model, images, n=50, keep_macs=keep_macs, **how).report
    keys = ('seconds', 'chosen', 'latency', 'memory', 'environment')
    found = dict(
        total=time.time() - start,
        epochs=epochs,
        keep_macs=keep_macs,
        **{k: report[k] for k in keys},
    )
    Path(out).write_text(json.dumps(found, indent=1))
    print(json.dumps(found['seconds']), found['total'])
