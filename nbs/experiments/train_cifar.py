"""Train the small teachers of the results pages on CIFAR-10 at 32x32, from scratch, on a CPU.

NAME is one of the teachers below; DATA has train/ and test/ with one folder per class. Writes OUT/NAME.safetensors
(half precision) and OUT/NAME.json, which `dcvit.load_teacher` reads. A run that was cut off goes on from its last
epoch.

python nbs/experiments/train_cifar.py swin DATA --out teachers
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from fastcore.script import Param, call_parse
from safetensors.torch import save_file
from timm.optim import create_optimizer_v2
from tqdm.auto import tqdm

from dcvit.images.config import normalise
from dcvit.images.decode import image_files
from dcvit.images.images import labelled
from dcvit.images.measure import logits, top1


@dataclass
class Plan:
    "One teacher, 12 to 160 M MACs, and how it is trained"

    architecture: str
    args: dict
    epochs: int
    lr: float
    dropped: float = 0.0  # share of the patches that a ViT does not see...
    until: int = 0  # ...in the epochs before this one
    stats: dict = field(
        default_factory=lambda: dict(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))
    )


teachers = dict(
    vit=Plan(
        'vit_base_patch16_224',
        dict(img_size=32, patch_size=4, embed_dim=128, depth=12, num_heads=4, num_classes=10),
        epochs=17,
        lr=1e-3,
        dropped=0.5,
        until=14,
    ),
    swin=Plan(
        'swin_tiny_patch4_window7_224',
        dict(
            img_size=32, patch_size=2, window_size=4, embed_dim=32, depths=[2, 4, 2], num_heads=[2, 4, 8],
            drop_path_rate=0.05, num_classes=10,
        ),
        epochs=20,
        lr=2e-3,
    ),
    convnext=Plan(
        'convnext_atto',
        dict(
            patch_size=2, depths=[3, 3, 3, 1], dims=[64, 128, 192, 192], conv_mlp=False, drop_path_rate=0.05,
            num_classes=10,
        ),
        epochs=18,
        lr=3e-3,
    ),
    resnet=Plan(
        'resnet18', dict(layers=[2, 3, 3, 2], channels=[40, 80, 128, 128], num_classes=10), epochs=15, lr=3e-3
    ),
)  # fmt: skip


def augment(x, generator):
    "Reflect-padded random crops and flips: one offset for each of 8 parts of the batch"
    out = []
    for part in F.pad(x, (4,) * 4, mode='reflect').chunk(8):
        i, j = torch.randint(9, (2,), generator=generator).tolist()
        part = part[..., i : i + 32, j : j + 32]
        flipped = torch.rand(len(part), 1, 1, 1, generator=generator) < 0.5
        out.append(torch.where(flipped, part.flip(-1), part))
    return torch.cat(out)


class Fit:
    "AdamW, one cycle, label smoothing; the state of an interrupted run is kept in a file"

    def __init__(self, model, plan, epochs, steps, state, bf16):
        self.model = model
        self.plan = plan
        self.epochs = epochs
        self.steps = steps
        self.state = state
        self.bf16 = bf16
        self.optimizer = create_optimizer_v2(model, 'adamw', lr=plan.lr, weight_decay=0.05)
        self.cycle = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, plan.lr, total_steps=epochs * steps, pct_start=0.15
        )
        self.first = 0
        self.seconds = 0.0
        if state.exists():
            self.resume()

    def parts(self):
        return dict(model=self.model, optimizer=self.optimizer, cycle=self.cycle)

    def resume(self):
        kept = torch.load(self.state, weights_only=False)
        self.first = kept['epoch']
        self.seconds = kept['seconds']
        for name, part in self.parts().items():
            part.load_state_dict(kept[name])

    def keep(self, epoch):
        kept = {name: part.state_dict() for name, part in self.parts().items()}
        torch.save(dict(kept, epoch=epoch + 1, seconds=self.seconds), self.state)

    def step(self, x, y):
        with torch.autocast('cpu', torch.bfloat16, enabled=self.bf16):
            loss = F.cross_entropy(self.model(x), y, label_smoothing=0.1)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.cycle.step()
        return loss.item()

    def epoch(self, epoch, x, y, batch):
        generator = torch.Generator().manual_seed(epoch)
        if self.plan.dropped and epoch == self.plan.until:
            self.model.patch_drop = torch.nn.Identity()
        parts = torch.randperm(len(x), generator=generator).split(batch)[: self.steps]
        for idx in tqdm(parts, desc=f'epoch {epoch}', leave=False, mininterval=5):
            loss = self.step(augment(x[idx], generator), y[idx])
        return loss

    def run(self, x, y, batch):
        "Train to the end; returns minutes"
        self.model.train()
        for epoch in range(self.first, self.epochs):
            start = time.time()
            loss = self.epoch(epoch, x, y, batch)
            self.seconds += time.time() - start
            self.keep(epoch)
            print(
                f'epoch {epoch + 1} of {self.epochs}: loss {loss:.3f}, {self.seconds / 60:.1f} min',
                flush=True,
            )
        return self.seconds / 60


def in_half(model):
    "The weights in half precision, as they are kept"
    state = model.state_dict()
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}


def seen_by(plan):
    "What a teacher's JSON file says about its images"
    stats = {name: list(values) for name, values in plan.stats.items()}
    return dict(input_size=[3, 32, 32], **stats, crop_pct=1.0, interpolation='bicubic')


def write(name, plan, model, out, **said):
    "Weights in half precision, and the JSON file that describes them"
    weights = {k: v.contiguous() for k, v in in_half(model).items()}
    save_file(weights, out / f'{name}.safetensors')
    card = dict(architecture=plan.architecture, args=plan.args, **seen_by(plan), **said)
    (out / f'{name}.json').write_text(json.dumps(card, indent=1))


def untrained(plan):
    "The model of a plan, in the memory format of convolutions"
    dropped = dict(patch_drop_rate=plan.dropped) if plan.dropped else {}
    model = timm.create_model(plan.architecture, **plan.args, **dropped)
    return model.to(memory_format=torch.channels_last)


def tested(model, data, cfg):
    "`(top-1 on the test images, what a teacher's JSON file says of it)`"
    pixels, labels = labelled(f'{data}/test', cfg, 10)
    accuracy = top1(logits(model.eval(), normalise(pixels, cfg)), labels)
    classes = sorted({p.parent.name for p in image_files(f'{data}/test')})
    return accuracy, dict(classes=classes, top1_test=round(accuracy, 2))


@call_parse
def main(
    name: Param('which teacher', choices=[*teachers]),
    data: str,  # folder with train/ and test/
    out: str = 'teachers',
    epochs: int = None,  # the default is the teacher's own
    batch: int = 128,
    bf16: bool = False,  # autocast; pays where the CPU has bfloat16 matrix units
):
    "Train one teacher and write it where `dcvit.load_teacher` finds it"
    plan = teachers[name]
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    state = out / f'{name}.state'
    epochs = epochs or plan.epochs
    torch.manual_seed(0)
    cfg = seen_by(plan)
    x, y = labelled(f'{data}/train', cfg, 10)
    model = untrained(plan)
    minutes = Fit(model, plan, epochs, len(x) // batch, state, bf16).run(
        normalise(x, cfg), y, batch
    )
    model.load_state_dict(in_half(model))
    accuracy, said = tested(model, data, cfg)
    words = f'{epochs} epochs on the 50,000 training images, one CPU core, {minutes:.0f} minutes'
    write(name, plan, model, out, **said, trained=words)
    state.unlink()
    print(f'{name}: {accuracy:.2f}% on test images, {minutes:.0f} minutes')
