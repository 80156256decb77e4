"""Train a 12-block ViT on CIFAR-10 (a folder of class folders) on a GPU, in about five minutes.

python nbs/experiments/train_cifar_vit.py --data CIFAR --out nbs/teachers/vit_c10_d192
"""
import json, time
from pathlib import Path
import numpy as np, timm, torch
from fastcore.script import call_parse
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

mean,std = (.4914,.4822,.4465),(.247,.2435,.2616)

def read(folder):
    "uint8 images and labels of a labelled folder"
    names = sorted(p.name for p in Path(folder).iterdir())
    files = [(f,i) for i,n in enumerate(names) for f in sorted((Path(folder)/n).iterdir())]
    return torch.tensor(np.stack([np.asarray(Image.open(f)) for f,_ in files])).permute(0,3,1,2), torch.tensor([i for _,i in files]), names

def augment(x):
    "Random crop from 4 pixels of padding, flip, brightness and contrast, one erased square; all on the device"
    n = len(x); g = torch.arange(32, device=x.device)
    dy,dx = torch.randint(0, 9, (2,n,1), device=x.device)
    x = F.pad(x, (4,)*4, mode='reflect')
    x = x[torch.arange(n, device=x.device)[:,None,None], :, (dy+g)[:,:,None], (dx+g)[:,None,:]].permute(0,3,1,2)
    x = torch.where(torch.rand(n,1,1,1, device=x.device)<.5, x.flip(3), x)
    m = x.mean((1,2,3), keepdim=True)
    x = (x-m)*(1+.6*(torch.rand(n,1,1,1, device=x.device)-.5)) + m + .4*(torch.rand(n,1,1,1, device=x.device)-.5)
    cy,cx = torch.randint(0, 32, (2,n,1,1), device=x.device)
    hole = ((g[:,None]-cy).abs()<5)&((g[None,:]-cx).abs()<5)
    return x.masked_fill(hole[:,None], 0.)

def mix(x, y, classes=10):
    "Mixup or CutMix, half of the batches each"
    p,lam = torch.randperm(len(x), device=x.device), np.random.beta(.8,.8)
    if np.random.rand()<.5: x = lam*x + (1-lam)*x[p]
    else:
        s = int(32*np.sqrt(1-lam)); t,l = np.random.randint(0, 33-s, 2)
        x = x.clone(); x[:,:,t:t+s,l:l+s] = x[p,:,t:t+s,l:l+s]; lam = 1-s*s/1024
    h = F.one_hot(y, classes).float()*.9 + .01
    return x, lam*h + (1-lam)*h[p]

@call_parse
def main(data:str,          # folder with train/ and test/
         out:str,           # writes OUT.safetensors (half precision) and OUT.json
         width:int=192, heads:int=3, epochs:int=240, bs:int=1024, lr:float=2e-3):
    "Train and save the teacher"
    torch.manual_seed(0); np.random.seed(0); torch.set_float32_matmul_precision('high')
    (x,y,names),(xt,yt,_) = read(f'{data}/train'),read(f'{data}/test')
    m_,s_ = (torch.tensor(v, device='cuda').view(-1,1,1) for v in (mean,std))
    prep = lambda v: (v.cuda().float()/255-m_)/s_
    x,y,xt,yt = prep(x),y.cuda(),prep(xt),yt.cuda()
    args = dict(img_size=32, patch_size=4, embed_dim=width, depth=12, num_heads=heads, num_classes=10)
    model = timm.create_model('vit_tiny_patch16_224', **args, drop_path_rate=.1).cuda()
    ema = timm.utils.ModelEmaV3(model, decay=.998)
    opt = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=.05, fused=True)
    steps = epochs*(len(x)//bs)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=steps, pct_start=.1)
    step = torch.compile(lambda v: model(v))
    t0 = time.time()
    def top1(m):
        with torch.no_grad(), torch.autocast('cuda', torch.bfloat16): return (torch.cat([m(c) for c in xt.split(2000)]).argmax(1)==yt).float().mean().item()*100
    for e in range(epochs):
        model.train()
        for idx in torch.randperm(len(x), device='cuda')[:len(x)//bs*bs].view(-1,bs):
            v,t = mix(augment(x[idx]), y[idx])
            with torch.autocast('cuda', torch.bfloat16): loss = F.cross_entropy(step(v).float(), t)
            opt.zero_grad(); loss.backward(); torch.nn.utils.clip_grad_norm_(model.parameters(), 1.); opt.step(); sched.step(); ema.update(model)
        if e%20==19: print(f'epoch {e+1} loss {loss.item():.3f} top-1 {top1(ema.module.eval()):.2f} {time.time()-t0:.0f} s', flush=True)
    best = ema.module.eval().cpu()
    half = {k: v.half().contiguous() for k,v in best.state_dict().items()}
    best.load_state_dict({k: v.float() for k,v in half.items()})
    acc = top1(best.cuda())
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_file(half, f'{out}.safetensors')
    Path(f'{out}.json').write_text(json.dumps(dict(architecture='vit_tiny_patch16_224', args=args, mean=mean, std=std, crop_pct=1.0, classes=names,
        top1_test=round(acc,2), trained=f'{epochs} epochs, {torch.cuda.get_device_name()}, {time.time()-t0:.0f} s'), indent=1)+'\n')
    print('top-1', acc)
