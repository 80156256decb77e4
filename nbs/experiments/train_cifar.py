"""Train the small teachers of the results pages on CIFAR-10 at 32x32, from scratch, each in under 40 minutes on one CPU core.

NAME is one of the teachers below; DATA has train/ and test/ with one folder per class. Writes OUT/NAME.safetensors (half precision)
and OUT/NAME.json, which `dcvit.load_teacher` reads. A run that was cut off goes on from its last epoch.

python nbs/experiments/train_cifar.py swin DATA --out teachers
"""
import json, time
from pathlib import Path
import timm, torch, torch.nn.functional as F
from fastcore.script import call_parse, Param
from safetensors.torch import save_file
from timm.optim import create_optimizer_v2
from tqdm.auto import tqdm
from dcvit.data import image_files, labelled, normalise
from dcvit.measure import logits, top1

teachers = dict( # 12 to 25 M MACs; every stage of the Swin and the ConvNeXt costs the same per block
    swin=dict(architecture='swin_tiny_patch4_window7_224', epochs=20, lr=2e-3,
              args=dict(img_size=32, patch_size=2, window_size=4, embed_dim=32, depths=[2,4,2], num_heads=[2,4,8], drop_path_rate=.05, num_classes=10)),
    convnext=dict(architecture='convnext_atto', epochs=18, lr=3e-3,
                  args=dict(patch_size=2, depths=[3,3,3,1], dims=[64,128,192,192], conv_mlp=False, drop_path_rate=.05, num_classes=10)),
    resnet=dict(architecture='resnet18', epochs=15, lr=3e-3,
                args=dict(layers=[2,3,3,2], channels=[40,80,128,128], num_classes=10)))
stats = dict(mean=(.4914,.4822,.4465), std=(.247,.2435,.2616))

def augment(x, g):
    "Reflect-padded random crops and flips: one offset for each of 8 parts of the batch"
    out = []
    for p in F.pad(x, (4,)*4, mode='reflect').chunk(8):
        i,j = torch.randint(9, (2,), generator=g).tolist()
        p = p[..., i:i+32, j:j+32]
        out.append(torch.where(torch.rand(len(p), 1, 1, 1, generator=g)<.5, p.flip(-1), p))
    return torch.cat(out)

def fit(model, x, y, epochs, lr, state, batch=128, seed=0, bf16=False):
    "AdamW, one cycle, label smoothing; the state of an interrupted run is kept in `state`"
    opt = create_optimizer_v2(model, 'adamw', lr=lr, weight_decay=.05)
    steps = len(x)//batch
    cycle = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=epochs*steps, pct_start=.15)
    first,spent = 0,0.
    if state.exists():
        s = torch.load(state, weights_only=False); first,spent = s['epoch'],s['seconds']
        model.load_state_dict(s['model']); opt.load_state_dict(s['opt']); cycle.load_state_dict(s['cycle'])
    for e in range(first, epochs):
        g = torch.Generator().manual_seed(seed*1000+e); model.train(); t = time.time()
        for idx in (bar := tqdm(torch.randperm(len(x), generator=g).split(batch)[:steps], desc=f'epoch {e}', leave=False, mininterval=5)):
            with torch.autocast('cpu', torch.bfloat16, enabled=bf16): loss = F.cross_entropy(model(augment(x[idx], g)), y[idx], label_smoothing=.1)
            opt.zero_grad(); loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
            opt.step(); cycle.step()
        spent += time.time()-t
        torch.save(dict(epoch=e+1, seconds=spent, model=model.state_dict(), opt=opt.state_dict(), cycle=cycle.state_dict()), state)
        print(f'epoch {e+1} of {epochs}: loss {loss.item():.3f}, {spent/60:.1f} min', flush=True)
    return spent/60

@call_parse
def main(name:Param('which teacher', choices=[*teachers]),
         data:str,             # folder with train/ and test/
         out:str='teachers',
         epochs:int=None,      # the default is the teacher's own
         bf16:bool=False):     # autocast; pays where the CPU has bfloat16 matrix units
    "Train one teacher and write it where `dcvit.load_teacher` finds it"
    t = teachers[name]; epochs = epochs or t['epochs']; out = Path(out); out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    cfg = dict(input_size=(3,32,32), interpolation='bicubic', crop_pct=1., **stats)
    x,y = labelled(f'{data}/train', cfg, 10)
    model = timm.create_model(t['architecture'], **t['args']).to(memory_format=torch.channels_last)
    minutes = fit(model, normalise(x, cfg), y, epochs, t['lr'], out/f'{name}.state', bf16=bf16)
    weights = {k: (v.half() if v.is_floating_point() else v).contiguous() for k,v in model.state_dict().items()}
    model.load_state_dict(weights)
    px,ty = labelled(f'{data}/test', cfg, 10)
    acc = top1(logits(model.eval(), normalise(px, cfg)), ty)
    save_file(weights, out/f'{name}.safetensors')
    classes = sorted({p.parent.name for p in image_files(f'{data}/test')})
    card = dict(architecture=t['architecture'], args=t['args'], input_size=[3,32,32], **{k: list(v) for k,v in stats.items()}, crop_pct=1., interpolation='bicubic',
                classes=classes, top1_test=round(acc, 2), trained=f'{epochs} epochs on the 50,000 training images, one CPU core, {minutes:.0f} minutes')
    (out/f'{name}.json').write_text(json.dumps(card, indent=1))
    (out/f'{name}.state').unlink()
    print(f'{name}: {acc:.2f}% on {len(ty)} test images, {minutes:.0f} minutes')
