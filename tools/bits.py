"""Compress five teachers at two budgets with all three recipes, and write a hash of each student's weights.

Run it before and after a change that should change no student, in the same environment, and compare the two files.

python tools/bits.py IMAGES OUT.json         # IMAGES: a folder of pictures for the CIFAR-10 teachers
"""

import contextlib
import hashlib
import io
import json
import sys
import tempfile
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import load_file

from dcvit.cli.main import run

cards = Path(__file__).resolve().parent.parent / 'nbs' / 'experiments' / 'teachers'
teachers = ['demo', 'vit', 'swin', 'convnext', 'resnet']
short = {
    'paper': 'trial_length=2,step_length=2,metric_iters=5,metric_images=8,unit=step,views=2',
    'fast': 'step_length=4,views=2',
    'closed-form': '',
}


def words(teacher, recipe, keep, images, out):
    "The command line of one run"
    numbers = short[recipe]
    if recipe == 'paper' and teacher in ('swin', 'convnext', 'resnet'):
        numbers += ',space=blocks'
    source = ['demo'] if teacher == 'demo' else [str(cards / f'{teacher}.json'), images]
    options = ['--keep-macs', str(keep), '--recipe', recipe, '--n', '40', '--out', out]
    return ['compress', *source, *options, *(['--set', numbers] if numbers else [])]


def digest(folder):
    "Hash of a student's weights, by name"
    found = hashlib.sha256()
    for name, tensor in sorted(load_file(f'{folder}/model.safetensors').items()):
        found.update(name.encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()[:16]


def student(teacher, recipe, keep, images):
    "The hash of one student, or why there is none"
    with tempfile.TemporaryDirectory() as folder:
        log = io.StringIO()
        out = f'{folder}/student'
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            status = run(words(teacher, recipe, keep, images, out))
        return log.getvalue().strip().splitlines()[-1] if status else digest(out)


def main(images, out):
    torch.set_num_threads(2)
    found = {}
    for teacher, recipe, keep in product(teachers, short, (0.8, 0.6)):
        key = f'{teacher} {recipe} {keep}'
        found[key] = student(teacher, recipe, keep, images)
        print(key, found[key], flush=True)
    Path(out).write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
