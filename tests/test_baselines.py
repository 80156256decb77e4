"""Every system that the paper is compared with, from the command line; what each promises is on its own page."""

import json
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest
import timm
import torch
from conftest import equal, mostly
from PIL import Image
from safetensors.torch import save_file

import dcvit
from dcvit.baselines.names import baselines
from dcvit.images.run import Run
from dcvit.model.structure import cost, from_json
from dcvit.model.tokens import read_seeing
from dcvit.recipes import get_recipe
from dcvit.ship.folder import read_student, rebuild
from dcvit.ship.standalone import load_plain

for_cnns = ('mir', 'fskd', 'cd')
for_both = ('practise',)
for_transformers = tuple(name for name in baselines if name not in for_cnns + for_both)
plain_only = ('evit', 'spvit', 'mini-deit')
short = dict(
    trial_length=3, step_length=6, swaps=2, rounds=2, population=6, parents=2, evaluations=6
)


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


def measure_of(name):
    "What a system can save"
    return 'keep_params' if name == 'mini-deit' else 'keep_macs'


def check(folder, name, keep):
    "A student folder whose costs are those of its structure, and which loads to what it was"
    report = json.loads((folder / 'report.json').read_text())
    description = read_student(folder)
    model, net = rebuild(description, folder / 'model.safetensors')
    structure = from_json(description, net)
    total = cost(read_seeing(model, net, structure), structure)
    assert report['student']['macs'] == total.macs
    assert abs(report['student'][measure_of(name)] - keep) < 0.08, name
    student = dcvit.load(folder)
    assert sum(p.numel() for p in student.parameters()) == total.params
    assert all(p.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize('name', for_both + for_transformers)
def test_systems_for_transformers(name, cli, tmp_path):
    budget = '--' + measure_of(name).replace('_', '-')
    words = ['compress', 'demo', '--n', 20, budget, 0.75, '--recipe', name]
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
inverted = [(name, 'mobilenetv2_035', dict(num_classes=5), 64) for name in for_both + for_cnns]
swin_name = 'swin_tiny_patch4_window7_224'
windows = ('practise', swin_name, swin, 56)


@pytest.mark.parametrize(
    'case', mostly([*inverted, windows], [inverted[1], windows]), ids=lambda c: c[0] + '-' + c[1]
)
def test_inverted_residuals_and_windows(case):
    name, model, args, size = case
    torch.manual_seed(0)
    small = dict(input_size=(3, size, size))
    teacher = timm.create_model(model, **args, pretrained_cfg_overlay=small).eval()
    images = torch.randint(0, 256, (12, 3, size, size), dtype=torch.uint8)
    arch = dict(architecture=model, args=args)
    how = dict(recipe=in_short(name), arch=arch, timing=False, progress=False)
    made = dcvit.compress(teacher, images, keep_macs=0.75, **how)
    assert abs(made.report['student']['keep_macs'] - 0.75) < 0.12
    assert all(p.isfinite().all() for p in made.model.parameters())


@pytest.fixture(scope='module', params=plain_only)
def changed_form(request, tmp_path_factory):
    "A student whose blocks another system changed, and its folder"
    name = request.param
    args = dict(img_size=32, patch_size=8, depth=4, num_classes=10)
    arch = dict(architecture='vit_tiny_patch16_224', args=args)
    vit = timm.create_model(arch['architecture'], **args).eval()
    images = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)
    how = {measure_of(name): 0.75, 'recipe': in_short(name), 'timing': False, 'progress': False}
    made = dcvit.compress(vit, images, arch=arch, **how)
    folder = tmp_path_factory.mktemp(name) / 's'
    made.export(folder, images[:4], formats=('onnx', 'program'))
    return made, folder


def test_students_in_other_forms_are_saved_and_exported(changed_form):
    made, folder = changed_form
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(dcvit.load(folder)(x), made.model(x))
    assert {*made.report['exports']} >= {'onnx', 'program'}
    assert made.report['form']['name'] == made.structure.form.name
    with pytest.raises(ValueError, match='dcvit.load'):
        load_plain(folder)


spoils = dict(
    unknown=lambda form: dict(form, name='os.system'),
    nameless=lambda form: [],
    longer=lambda form: {k: v if k == 'name' else v + v for k, v in form.items()},
    negative=lambda form: {k: v if k == 'name' else [-n for n in v] for k, v in form.items()},
    huge=lambda form: {k: v if k == 'name' else [10**9] * len(v) for k, v in form.items()},
    words=lambda form: {k: str(v) for k, v in form.items()},
    lacking=lambda form: dict(name=form['name']),
)


@pytest.mark.parametrize('spoil', spoils)
def test_broken_forms_are_refused(spoil, changed_form, tmp_path):
    copy = tmp_path / 's'
    shutil.copytree(changed_form[1], copy)
    description = json.loads((copy / 'structure.json').read_text())
    description['form'] = spoils[spoil](description['form'])
    (copy / 'structure.json').write_text(json.dumps(description))
    with pytest.raises(dcvit.DcvitError):
        dcvit.load(copy)


@pytest.mark.parametrize('name', plain_only)
def test_systems_that_need_a_plain_sequence_refuse_windows(name):
    small = dict(input_size=(3, 56, 56))
    teacher = timm.create_model(swin_name, **swin, pretrained_cfg_overlay=small).eval()
    with pytest.raises(dcvit.DcvitError, match=f'{name} .* plain transformers|need'):
        dcvit.compress(teacher, torch.zeros(4, 3, 56, 56), recipe=name, **{measure_of(name): 0.75})


@pytest.mark.parametrize('name', ['practise', 'vtp'])
def test_same_seed_same_student(name, teacher, digits):
    how = dict(keep_macs=0.75, n=20, recipe=in_short(name))
    how |= dict(timing=False, progress=False)
    one, other = (dcvit.compress(teacher, digits['train'], **how) for _ in range(2))
    assert equal(one.model.state_dict(), other.model.state_dict())


@pytest.mark.parametrize(
    'name', ['practise', 'vtp', 's2vite', 'autoformer', 'evit', 'spvit', 'mini-deit']
)
def test_systems_learn_from_half_precision(name, teacher, digits, monkeypatch):
    "As on a GPU, where the teacher's features are bfloat16"
    monkeypatch.setattr(Run, 'amp', True)
    measure = 'keep_params' if name == 'mini-deit' else 'keep_macs'
    how = dict(n=12, recipe=in_short(name), timing=False, progress=False, **{measure: 0.75})
    made = dcvit.compress(teacher, digits['train'], **how)
    assert all(p.isfinite().all() for p in made.model.parameters())


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
