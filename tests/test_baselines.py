"""Every system that the paper is compared with, from the command line; what each promises is on its own page."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import timm
import torch
from conftest import equal
from PIL import Image
from safetensors.torch import save_file

import dcvit
from dcvit.baselines.names import baselines
from dcvit.model.structure import cost, from_json
from dcvit.recipes import get_recipe
from dcvit.ship.folder import read_student, rebuild

for_cnns = ('mir', 'fskd', 'cd')
for_both = ('practise',)
for_transformers = tuple(name for name in baselines if name not in for_cnns + for_both)
short = dict(trial_length=3, step_length=6, swaps=2, rounds=2, population=6, parents=2)


def few_steps(name, **more):
    "Numbers of a system that make it short"
    known = {f.name for f in fields(get_recipe(name))}
    return {k: v for k, v in {**short, **more}.items() if k in known}


def in_words(numbers):
    "For `--set`"
    return ','.join(f'{k}={v}' for k, v in numbers.items())


@pytest.fixture(scope='module')
def small_cnn(tmp_path_factory):
    "A small ResNet with random weights on disk, and a folder of images"
    folder = tmp_path_factory.mktemp('cnn')
    torch.manual_seed(0)
    args = dict(num_classes=5)
    model = timm.create_model('resnet10t', **args)
    save_file(model.state_dict(), folder / 'model.safetensors')
    (folder / 'model.json').write_text(
        json.dumps(dict(architecture='resnet10t', args=args, input_size=[3, 64, 64]))
    )
    (folder / 'images').mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'images' / f'{i}.png')
    return folder


def check(folder, name, keep):
    "A student folder whose costs are those of its structure, and which loads to what it was"
    report = json.loads((folder / 'report.json').read_text())
    description = read_student(folder)
    _, net = rebuild(description, folder / 'model.safetensors')
    total = cost(net, from_json(description, net))
    assert report['student']['macs'] == total.macs
    assert abs(report['student']['keep_macs'] - keep) < 0.08, name
    student = dcvit.load(folder)
    assert sum(p.numel() for p in student.parameters()) == total.params
    assert all(p.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize('name', for_both + for_transformers)
def test_systems_for_transformers(name, cli, tmp_path):
    words = ['compress', 'demo', '--n', 20, '--keep-macs', 0.75, '--recipe', name]
    done = cli(*words, '--set', in_words(few_steps(name)), '--out', tmp_path / 's')
    assert done.returncode == 0, done.stderr
    check(tmp_path / 's', name, 0.75)


@pytest.mark.parametrize('name', for_both + for_cnns)
def test_systems_for_cnns(name, cli, small_cnn, tmp_path):
    words = ['compress', small_cnn / 'model.json', small_cnn / 'images', '--recipe', name]
    words += ['--set', in_words(few_steps(name, augment='none')), '--keep-macs', 0.75]
    done = cli(*words, '--out', tmp_path / 's')
    assert done.returncode == 0, done.stderr
    check(tmp_path / 's', name, 0.75)


@pytest.mark.parametrize('name', for_cnns)
def test_systems_for_cnns_refuse_transformers(name, cli, tmp_path):
    words = ['compress', 'demo', '--keep-macs', 0.75, '--recipe', name, '--out', tmp_path / 's']
    done = cli(*words)
    assert done.returncode == 2 and f'{name} is for convolution networks' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize('name', for_transformers)
def test_systems_for_transformers_refuse_cnns(name, cli, small_cnn, tmp_path):
    words = ['compress', small_cnn / 'model.json', small_cnn / 'images', '--recipe', name]
    done = cli(*words, '--keep-macs', 0.75, '--out', tmp_path / 's')
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert name in done.stderr


def in_short(name):
    "A recipe with few steps"
    return replace(get_recipe(name), **few_steps(name, augment='none'))


swin = dict(depths=(2, 4), num_heads=(2, 4), embed_dim=32, img_size=56, num_classes=5)
others = [(name, 'mobilenetv2_035', dict(num_classes=5), 64) for name in for_both + for_cnns]
others += [('practise', 'swin_tiny_patch4_window7_224', swin, 56)]


@pytest.mark.parametrize('name,model,args,size', others)
def test_inverted_residuals_and_windows(name, model, args, size):
    torch.manual_seed(0)
    small = dict(input_size=(3, size, size))
    teacher = timm.create_model(model, **args, pretrained_cfg_overlay=small).eval()
    images = torch.randint(0, 256, (12, 3, size, size), dtype=torch.uint8)
    arch = dict(architecture=model, args=args)
    how = dict(recipe=in_short(name), arch=arch, timing=False, progress=False)
    made = dcvit.compress(teacher, images, keep_macs=0.75, **how)
    assert abs(made.report['student']['keep_macs'] - 0.75) < 0.12
    assert all(p.isfinite().all() for p in made.model.parameters())


@pytest.mark.parametrize('name', ['practise', 'vtp'])
def test_same_seed_same_student(name, teacher, digits):
    how = dict(keep_macs=0.75, n=20, recipe=in_short(name))
    how |= dict(timing=False, progress=False)
    one, other = (dcvit.compress(teacher, digits['train'], **how) for _ in range(2))
    assert equal(one.model.state_dict(), other.model.state_dict())


def test_practise_goes_on_from_a_run_folder(teacher, digits, tmp_path, monkeypatch):
    how = dict(keep_macs=0.75, n=20, recipe=in_short('practise'), run_dir=tmp_path / 'run')
    how |= dict(timing=False, progress=False)
    one = dcvit.compress(teacher, digits['train'], **how)

    def never(*args, **kw):
        raise AssertionError('trained again')

    monkeypatch.setattr('dcvit.baselines.practise.train', never)
    other = dcvit.compress(teacher, digits['train'], **how)
    assert equal(one.model.state_dict(), other.model.state_dict())


def test_a_number_that_a_system_does_not_read_is_refused(cli, small_cnn, tmp_path):
    words = ['compress', small_cnn / 'model.json', small_cnn / 'images', '--keep-macs', 0.75]
    done = cli(*words, '--recipe', 'fskd', '--set', 'lr=1', '--out', tmp_path / 's')
    assert done.returncode == 2 and "no such number in the recipe 'fskd'" in done.stderr
