"""Every row of the error table, from Python and from the command line: one sentence, status 2, before any training."""

import json
import os
import shlex
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from limits import limited
from PIL import Image
from safetensors.torch import save_file

import dcvit
from dcvit.base.errors import DcvitError
from dcvit.cli.main import run
from dcvit.images.config import data_config
from dcvit.model.reading import read
from dcvit.model.surgery import prune
from dcvit.paper.plan import compressed
from dcvit.ship.arch import describe
from dcvit.ship.folder import save_student


def assert_sentence(done, *words):
    err = done.stderr.strip()
    assert done.returncode == 2, (done.returncode, err)
    assert 'Traceback' not in err and err.startswith('dcvit:') and len(err.splitlines()) == 1, err
    for word in words:
        assert word in err


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    for i in range(4):
        Image.fromarray(np.full((8, 8), 40 * i, np.uint8)).save(folder / f'{i}.png')
    return folder


def save_some_student(teacher, folder):
    s = compressed(read(teacher), [3], 0.5)
    return save_student(folder, prune(teacher, s), s, describe(teacher), data_config(teacher))


@pytest.fixture(scope='module')
def student(tmp_path_factory, teacher):
    return save_some_student(teacher, tmp_path_factory.mktemp('s') / 'student')


compress = 'compress demo {images} --keep-macs .5 '
cases = [
    ('compress no_such_model {images} --keep-macs .5', 'not a timm model'),
    ('compress vit_bas_patch16_224 {images} --keep-macs .5', 'did you mean vit_base_patch16_224'),
    ('compress no_such_model {tmp}/nothing --keep-macs .5', 'no such folder'),
    (
        'compress demo {images} --keep-macs .5 --set augment=foo',
        "augment must be 'none' or timm's auto-augment",
    ),
    ('compress demo {images} --keep-macs .5 --run-dir {images}', 'not empty and not a run folder'),
    ('compress demo {images} --keep-macs 1e308', 'out of reach'),
    ('compress demo {images} --keep-macs .5 --out {loose}', 'is a link that leads nowhere'),
    ("info vit_tiny_patch16_224 --args '{{\"depth\":100000}}'", 'depth=100000 is too large'),
    ('compress {pipe}.json {images} --keep-macs .5', 'pipe.json: not a regular file'),
    ('compress test_vit {images} --checkpoint {pipe}.safetensors --keep-macs .5', 'regular file'),
    (
        'compress demo {images} --recipe paper --metric-set {pipe}.safetensors --keep-macs .5',
        'regular file',
    ),
    ('compress demo {images} --recipe paper --metric-set /dev/zero --keep-macs .5', 'regular file'),
    ('info vgg11', 'VGG is not supported: none of its blocks is known'),
    ('info test_vit --args \'{{"in_chans":0}}\'', 'does not run on an image of [0, 160, 160]'),
    ('compress demo {images} --keep-macs .0001', 'out of reach: structures of this model reach'),
    (
        'compress demo {images} --keep-macs .05 --recipe paper',
        "out of reach: the paper's structures reach",
    ),
    ('compress demo {images} --keep-latency 1.5', 'below 1'),
    ('compress demo {images} --keep-latency .5 --recipe paper', 'need a recipe that searches'),
    ('compress demo {images} --keep-latency .5 --keep-macs .5', 'name one budget'),
    (
        'compress demo {images} --keep-latency .5 --latency-batch 0',
        'latency_batch must be a whole number',
    ),
    (
        'compress demo {images} --keep-latency .5 --latency-batch 99999',
        'latency_batch must be a whole number',
    ),
    (compress + '--latency-batch 8', 'latency_batch goes with'),
    ('family demo {images} --budgets .4', '--budgets takes two numbers'),
    ('family demo {images} --budgets .9,.4', 'from the lower to the higher'),
    ('family demo {images} --calibration -1', 'calibration must be a whole number'),
    ('at {empty} --keep-macs .5', 'is not a family'),
    ('compress demo {images} --keep-macs -1', 'positive number'),
    ('compress demo {images} --keep-macs 1.0000001', 'a fraction up to 1 or an absolute number'),
    ('compress demo {images} --keep-macs 1e308', 'out of reach'),
    ('compress demo {images}', 'name one budget'),
    (compress + '--n 50', '50 images asked, 4 found'),
    (compress + '--n 0', 'n must be a whole number from 1 up, got 0'),
    (compress + '--seed -1', 'seed must be a whole number from 0 up'),
    ('compress demo {tmp}/nothing --keep-macs .5', 'no such folder'),
    ('compress demo {empty} --keep-macs .5', 'no images in this folder'),
    ('compress demo {broken} --keep-macs .5', 'cut.png: not an image that can be decoded'),
    (compress + '--recipe slow', 'no recipe named'),
    (compress + '--set speed=9', 'no such number in the recipe'),
    (compress + '--set trial_length=9', "no such number in the recipe 'fast'"),
    (compress + '--set lr=fast', 'expected float'),
    (compress + '--set refit=2', 'expected bool'),
    (compress + '--set jitter=inf', 'jitter must be a finite number'),
    (compress + '--count linear --keep-latency .5', 'name one budget'),
    ('compress demo {images} --keep-params .5 --count linear', 'a budget in parameters has none'),
    (compress + '--metric-set x.safetensors', "goes with recipe='paper'"),
    (compress + '--runner ray', 'spreads trials'),
    (compress + '--device tpu9', 'is not a device'),
    (compress + '--device meta', 'is not a device'),
    (compress + '--device mps', 'is not a device'),
    (compress + '--out {images}', 'not empty and not a student'),
    (compress + '--out /proc/x', 'cannot write'),
    (compress + '--out {images}/0.png/x', 'cannot write'),
    (compress + '--run-dir /proc/none', 'cannot use'),
    (
        'compress {nan} {images} --keep-macs .5',
        'non-finite weights: first in blocks.2.mlp.fc1.weight',
    ),
    ('compress {images}/0.json {images} --keep-macs .5', 'cannot read'),
    ("compress test_vit {images} --keep-macs .5 --args '{{'", '--args must be JSON'),
    (compress + '--mean a', '--mean'),
    (compress + '--recipe paper --metric-set {images}/0.png', 'not a safetensors file'),
    ('eval {empty}', 'is not a saved student'),
    ('eval {newer}', 'upgrade dcvit'),
    ('eval {pickle}', 'not a safetensors file'),
    ('eval {student} {images}', 'class folders'),
    ('eval {student} --device cuda:99', 'is not a device'),
    ('export {student} --opset 0', 'opset must be a whole number'),
    ('bench --block 99', 'block must be a whole number from 0 to 11'),
    ('frobnicate', 'no command'),
    ('compress demo --keep-macs half', 'invalid float value'),
    ('compress demo --keep-mac .5 --faster', 'unrecognized arguments'),
]


@pytest.fixture(scope='module')
def places(tmp_path_factory, images, student, teacher):
    "Folders and files that the cases name"
    tmp = tmp_path_factory.mktemp('places')
    found = dict(images=images, tmp=tmp, student=student, nan=tmp / 'nan.json')
    for name in ('empty', 'broken'):
        found[name] = tmp / name
        found[name].mkdir()
    (found['broken'] / 'cut.png').write_bytes((images / '0.png').read_bytes()[:40])
    weights = {k: v.clone() for k, v in teacher.state_dict().items()}
    weights['blocks.2.mlp.fc1.weight'][0, 0] = float('nan')
    save_file(weights, tmp / 'nan.safetensors')
    found['nan'].write_text(json.dumps(dict(describe(teacher), mean=[0.3], std=[0.4])))
    for name in ('newer', 'pickle'):
        found[name] = tmp / name
        shutil.copytree(student, found[name])
    description = json.loads((student / 'structure.json').read_text())
    (found['newer'] / 'structure.json').write_text(json.dumps(dict(description, format=99)))
    torch.save(teacher.state_dict(), found['pickle'] / 'model.safetensors')
    found['pipe'] = tmp / 'pipe'
    for suffix in ('.json', '.safetensors'):
        os.mkfifo(found['pipe'].with_suffix(suffix))
    found['loose'] = tmp / 'loose'
    found['loose'].symlink_to(tmp / 'nowhere')
    return found


@pytest.mark.parametrize('words,says', cases, ids=[words for words, _ in cases])
def test_command_line(words, says, places, capsys, tmp_path, monkeypatch, fault):
    "In this process, for speed; the subprocess is tested below"
    fault('bad requests, by hand', 'the sentence that was meant')
    monkeypatch.chdir(tmp_path)
    with limited():
        status = run(shlex.split(words.format(**places)))
    err = capsys.readouterr().err
    assert status == 2 and says in err and len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / 'student').exists()


def test_subprocess(installed, cli, images, tmp_path):
    words = ('compress', 'demo', images, '--keep-macs', 0.0001)
    assert_sentence(installed(*words, cwd=tmp_path), 'out of reach')
    assert installed('--help').returncode == 0
    assert_sentence(cli('info', 'vgg11'), 'VGG')
    assert cli().returncode == 2


def test_offline_weights(installed, images, tmp_path):
    "Where the hub cannot be reached, the sentence says what to do instead"
    offline = dict(os.environ, HF_HUB_OFFLINE='1')
    words = ('compress', 'vit_tiny_patch16_224', images, '--keep-macs', '.5')
    assert_sentence(installed(*words, cwd=tmp_path, env=offline), '--checkpoint')


def from_python(teacher, digits):
    "`(words of the sentence, arguments, keyword arguments)`"
    x = digits['train']
    yield 'takes .n, 1, height, width.', (teacher, torch.zeros(4, 3, 8, 8)), dict(keep_macs=0.5)
    yield 'floats from 0 to 1', (teacher, torch.randn(4, 1, 8, 8)), dict(keep_macs=0.5)
    yield 'no images given', (teacher, []), dict(keep_macs=0.5)
    yield 'cannot make an image of a int', (teacher, [1, 2]), dict(keep_macs=0.5)
    yield 'got a NoneType', (teacher, None), dict(keep_macs=0.5)
    yield 'got a generator', (teacher, (i for i in range(3))), dict(keep_macs=0.5)
    yield 'expected a timm model', ('vit', x), dict(keep_macs=0.5)
    yield 'name one budget', (teacher, x), dict(keep_macs=0.5, keep_params=0.5)
    yield 'count must be', (teacher, x), dict(keep_macs=0.5, count='some')
    yield 'n must be a whole number', (teacher, x), dict(keep_macs=0.5, n=-3)
    yield 'images asked', (teacher, x[:4]), dict(keep_macs=0.5, n=5)
    yield 'n must be a whole number', (teacher, x), dict(keep_macs=0.5, n='all')
    yield 'labelled is a pair', (teacher, x), dict(keep_macs=0.5, labelled=3)
    yield 'run_dir is a folder', (teacher, x), dict(keep_macs=0.5, run_dir=7)
    yield 'arch must be a dict', (teacher, x), dict(keep_macs=0.5, arch=3)
    other = dict(architecture='test_resnet')
    yield 'that is not this', (teacher, x), dict(keep_macs=0.5, arch=other)
    yield 'wraps a timm model', (torch.nn.Sequential(teacher), x), dict(keep_macs=0.5)
    loader = torch.utils.data.DataLoader(x)
    yield 'got a DataLoader', (teacher, loader), dict(keep_macs=0.5)
    student = prune(teacher, compressed(read(teacher), [2, 3], 0.5))
    yield 'compress its teacher', (student, None), dict(keep_macs=0.9)


def test_python(teacher, digits):
    for words, args, kw in from_python(teacher, digits):
        with pytest.raises(DcvitError, match=words):
            dcvit.compress(*args, **kw, progress=False)
    with pytest.raises(TypeError, match="unexpected argument 'speed'"):
        dcvit.compress(teacher, digits['train'], keep_macs=0.5, speed=9)


def test_numpy_scalars_are_numbers(teacher, digits):
    how = dict(recipe='closed-form', timing=False, progress=False)
    made = dcvit.compress(
        teacher, digits['train'][:20], keep_macs=np.float32(0.6), seed=np.int64(1), **how
    )
    assert made.report['budget']['asked'] == pytest.approx(0.6)


@contextmanager
def as_double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize('around', [torch.no_grad, torch.inference_mode, as_double])
def test_trains_wherever_it_is_called(around, teacher, digits):
    how = dict(recipe=dcvit.SearchRecipe(step_length=2, unit='step'), keep_macs=0.5)
    with around():
        made = dcvit.compress(teacher, digits['train'][:12], timing=False, progress=False, **how)
    assert made.model(torch.rand(1, 1, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize('around', [torch.nn.DataParallel, torch.compile])
def test_wrapped_by_torch(around, teacher, digits):
    how = dict(recipe='closed-form', keep_macs=0.5, timing=False, progress=False)
    plain = dcvit.compress(teacher, digits['train'][:12], **how)
    made = dcvit.compress(around(teacher), digits['train'][:12], **how)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(made.model(x), plain.model(x))


def test_no_space(tmp_path, teacher, fault):
    "A full disk is a sentence and leaves no partial file"
    fault('disk full while a student is written', 'refused, nothing left behind')
    small = tmp_path / 'small'
    small.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]
    if not shutil.which('mount') or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('mounting a small tmpfs is not allowed here')
    try:
        with pytest.raises(DcvitError, match='No space left'):
            save_some_student(teacher, small / 'student')
        assert [*small.iterdir()] == []
    finally:
        subprocess.run(['umount', small])
