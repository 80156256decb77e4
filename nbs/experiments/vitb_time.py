"""Time the paper's whole pipeline on ViT-B/16 at 224 (random weights) with 50 images, and say where the time goes.

python nbs/experiments/vitb_time.py IMAGES --out nbs/results/vitb_time.json
"""
import json, time
from dataclasses import replace
from fastcore.script import call_parse
import timm, torch, dcvit
from dcvit.recipe import get_recipe

@call_parse
def main(images:str,             # folder with at least 50 images
         out:str,                # JSON
         epochs:int=2000,        # per trial and per step
         keep_macs:float=.834, device:str='cuda', workers:int=15):
    "Run and report"
    torch.manual_seed(0)
    t,m = time.time(), timm.create_model('vit_base_patch16_224')
    r = replace(get_recipe('paper'), trial_length=epochs, step_length=epochs, metric_iters=epochs, views=epochs)
    res = dcvit.compress(m, images, n=50, keep_macs=keep_macs, recipe=r, device=device, workers=workers, progress=False)
    rep = dict(seconds=res.report['seconds'], total=time.time()-t, epochs=epochs, keep_macs=keep_macs, chosen=res.report['chosen'], latency=res.report['latency'], environment=res.report['environment'],
               peak_gb=torch.cuda.max_memory_allocated()/1e9 if device=='cuda' else None)
    open(out,'w').write(json.dumps(rep, indent=1)); print(json.dumps(rep['seconds']), rep['total'])
