"""Every boundary against input that nobody meant to send: it works, or it says one sentence."""

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import malformed
import numpy as np
import pytest
import torch
from conftest import mostly
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import limited
from PIL import Image
from safetensors.torch import load_file, save_file

import dcvit
from dcvit.base.errors import DcvitError
from dcvit.base.spool import Spool
from dcvit.cli import main as commands
from dcvit.cli.words import fresh_folder
from dcvit.images.decode import open_image

health = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
many = settings(max_examples=40, deadline=None, suppress_health_check=health)
closed = dict(recipe='closed-form', timing=False, progress=False)


@pytest.fixture(scope='module')
def saved(tmp_path_factory, teacher, digits):
    "A student, a family and a run folder of the demo teacher"
    folder, few = tmp_path_factory.mktemp('saved'), digits['train'][:30]
    made = dcvit.compress(teacher, few, keep_macs=0.6, run_dir=folder / 'run', **closed)
    made.save(folder / 'student')
    family = dcvit.family(teacher, few, budgets=(0.5, 0.8), calibration=4, progress=False)
    family.save(folder / 'family')
    return folder


def works_or_says(call):
    try:
        call()
    except DcvitError as e:
        assert str(e) and '\n' not in str(e)[:400]


# image files


def gray(im):
    return np.asarray(im.convert('L'), dtype=float).ravel()


def test_good_image_files(tmp_path, fault):
    "They are read, and look as they should"
    sizes = {name: size for name, _, size in malformed.good()}
    files = malformed.write(tmp_path, malformed.good)
    what = 'image files: formats, modes, rotations, animations, wrong extensions, odd names'
    fault(what, 'read, and look as they should', len(files))
    photo = gray(Image.fromarray(malformed.photo()))
    assert len(files) >= 100
    for path in files:
        im = open_image(path)
        assert im.mode == 'RGB' and im.size == sizes[path.name]
        if im.size == (64, 48) and not path.name.startswith(('turned', 'lab')):
            alike = np.corrcoef(gray(im), photo)[0, 1]
            assert alike > (0.2 if path.name[0] in '1qI' else 0.85), path.name


def test_bad_image_files(tmp_path, fault):
    "They are refused by name"
    files = malformed.write(tmp_path, malformed.bad)
    fault('image files: cut, empty, text, noise, bombs, lines', 'refused by name', len(files))
    assert len(files) >= 100
    for path in files:
        with pytest.raises(DcvitError) as e:
            open_image(path)
        assert path.name in str(e.value)


def test_skip_bad_images(cli, on_disk, tmp_path, fault):
    "The default stops at the first bad file; the flag carries on and lists what it skipped"
    good = malformed.write(tmp_path / 'few', malformed.good)
    bad = malformed.write(tmp_path / 'few', malformed.bad)
    what = 'good and bad image files with --skip-bad-images'
    fault(what, 'skipped, listed, counted in the report', len(good) + len(bad))
    words = ['compress', on_disk[0], tmp_path / 'few', '--out', tmp_path / 's']
    words += ['--recipe', 'closed-form', '--keep-macs', '.6']
    done = cli(*words)
    assert done.returncode == 2 and 'not an image' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 's').exists()
    done = cli(*words, '--skip-bad-images')
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / 's' / 'report.json').read_text())['few_shot']
    assert report['images'] == len(good) and len(report['skipped']) == len(bad)
    assert all(any(path.name in why for why in report['skipped']) for path in bad)
    assert done.stdout.count('skipped ') == len(bad)


flips = st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8)


def test_any_bytes_are_an_image_or_a_sentence(tmp_path, fault):
    fault('bytes of an image flipped or cut at random', 'read or refused', 40)

    @given(st.floats(0, 1), flips, st.sampled_from([*malformed.formats.items()]))
    @many
    @limited()
    def check(cut, flipped, kind):
        data = bytearray(malformed.coded(kind[1]))
        if cut < 0.7:
            data = data[: max(1, int(len(data) * cut))]
        for at, value in flipped:
            data[int(at * len(data))] = value
        path = tmp_path / f'x.{kind[0]}'
        path.write_bytes(data)
        try:
            assert open_image(path).mode == 'RGB'
        except DcvitError as e:
            assert 'x.' in str(e)

    check()


# folders


def leaves(obj, at=()):
    "Paths of everything inside a JSON value"
    yield at
    items = (
        obj.items() if isinstance(obj, dict) else enumerate(obj) if isinstance(obj, list) else ()
    )
    for key, value in items:
        yield from leaves(value, (*at, key))


gone = object()


def replaced(obj, at, value):
    "`obj` with another value at a path, or without it"
    if not at:
        return value
    out = dict(obj) if isinstance(obj, dict) else list(obj)
    if value is gone and len(at) == 1:
        del out[at[0]]
    else:
        out[at[0]] = replaced(obj[at[0]], at[1:], value)
    return out


words_like = ['../../etc/passwd', '/etc/passwd', 'hf-hub:a/b', '__import__("os")', 'x' * 5000]
odd = st.one_of(
    st.just(gone),
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from([*words_like, [], {}, [[]], {'a': [1]}, 10**400]),
    st.lists(st.integers(-3, 400), max_size=3),
)


def damaged(data, obj):
    "A description with one value replaced or removed, or its text damaged"
    if data.draw(st.integers(0, 4)):
        at = data.draw(st.sampled_from([path for path in leaves(obj) if path]))
        return json.dumps(replaced(obj, at, data.draw(odd)))
    text = json.dumps(obj)
    i = data.draw(st.integers(0, len(text) - 1))
    return text[:i] + data.draw(st.text(max_size=3)) + text[i + data.draw(st.integers(0, 3)) :]


def from_family(folder):
    family = dcvit.load_family(folder)
    family.student(family.structure(keep_macs=0.6))


descriptions = [
    ('student', 'structure.json', dcvit.load),
    ('student', 'structure.json', fresh_folder),
    ('family', 'family.json', from_family),
]


@pytest.mark.parametrize('kind,file,load', descriptions, ids=['load', 'out', 'family'])
def test_any_description(kind, file, load, saved, tmp_path, fault):
    what = 'structure.json and family.json with any value replaced or removed'
    fault(what, 'loaded or refused', 20)

    @given(st.data())
    @settings(many, max_examples=20)
    @limited()
    def check(data):
        folder = tmp_path / 'd'
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved / kind, folder)
        beside = sorted(p.name for p in tmp_path.iterdir())
        text = damaged(data, json.loads((folder / file).read_text()))
        (folder / file).write_text(text, encoding='utf-8', errors='surrogatepass')
        works_or_says(lambda: load(folder))
        assert sorted(p.name for p in tmp_path.iterdir()) == beside

    check()


def test_any_weights(saved, tmp_path, fault):
    fault('weights with a flipped byte, or cut', 'loaded or refused', 40)

    @given(st.integers(0, 4000), st.integers(0, 255), st.integers(0, 10**6))
    @many
    @limited()
    def check(at, byte, cut):
        folder = tmp_path / 'd'
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved / 'student', folder)
        weights = bytearray((folder / 'model.safetensors').read_bytes())
        weights[at] = byte
        if cut < len(weights) and at % 2:
            weights = weights[:cut]
        (folder / 'model.safetensors').write_bytes(weights)
        works_or_says(lambda: dcvit.load(folder))

    check()


json_values = st.recursive(
    st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda c: st.one_of(
        st.lists(c, max_size=3), st.dictionaries(st.text(max_size=8), c, max_size=3)
    ),
    max_leaves=8,
)


def test_any_run_folder(saved, teacher, digits, tmp_path, fault):
    "A configuration that is damaged, or of another version, is refused"
    fault('run folder with a damaged configuration', 'refused', 10)

    @given(st.one_of(st.text(max_size=40), json_values.map(json.dumps)))
    @settings(many, max_examples=10)
    @limited()
    def check(text):
        folder = tmp_path / 'run'
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved / 'run', folder)
        (folder / 'config.json').write_text(text, encoding='utf-8', errors='surrogatepass')
        with pytest.raises(DcvitError):
            dcvit.compress(teacher, digits['train'][:30], keep_macs=0.6, run_dir=folder, **closed)

    check()


def test_another_run_folder(teacher, digits, tmp_path, saved, fault):
    "What another run asked for is named"
    fault('run folder of another request', 'refused, differences named')
    shutil.copytree(saved / 'run', tmp_path / 'run')
    config = json.loads((tmp_path / 'run' / 'config.json').read_text())
    config['recipe']['lr'] = 9
    (tmp_path / 'run' / 'config.json').write_text(json.dumps(config))
    with pytest.raises(DcvitError, match='another configuration: recipe.lr'):
        few = digits['train'][:30]
        dcvit.compress(teacher, few, keep_macs=0.6, run_dir=tmp_path / 'run', **closed)


def test_two_processes_on_one_run_folder(cli, forks, tmp_path, fault):
    "One wins, the other says so; the winner is not disturbed"
    fault('two processes on one run folder', 'one wins, the other says so')
    numbers = 'trial_length=4,step_length=2,unit=step,metric_iters=20,metric_warmup=5'
    words = ['compress', 'demo', '--n', 12, '--keep-macs', '.75', '--recipe', 'paper']
    words += ['--set', numbers, '--run-dir', str(tmp_path / 'run'), '--out']
    first = forks.start(*words, tmp_path / 'a')
    end = time.time() + 120
    while not (tmp_path / 'run' / 'config.json').exists() and time.time() < end:
        time.sleep(0.1)
    done = cli(*words, tmp_path / 'b')
    assert done.returncode == 2 and 'in use by another process' in done.stderr
    assert not (tmp_path / 'b').exists()
    assert first.wait(timeout=300) == 0 and (tmp_path / 'a' / 'structure.json').exists()


def test_read_only_output(teacher, digits, tmp_path, fault):
    "A folder that cannot be written is a sentence, before and after the work"
    fault('output that cannot be written', 'refused', 2)
    folder = tmp_path / 'ro'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('mounting a tmpfs is not allowed here')
    try:
        with pytest.raises(DcvitError, match='cannot use'):
            dcvit.compress(
                teacher, digits['train'], n=20, keep_macs=0.6, run_dir=folder / 'run', **closed
            )
        made = dcvit.compress(teacher, digits['train'], n=20, keep_macs=0.6, **closed)
        with pytest.raises(DcvitError, match='cannot write'):
            made.save(folder / 'student')
    finally:
        subprocess.run(['umount', folder])


def test_names_stay_inside(saved, tmp_path, fault):
    "Tensor names with paths in them are names, not paths"
    fault('tensor names with paths in them', 'refused, nothing written', 2)
    folder = tmp_path / 'd'
    shutil.copytree(saved / 'student', folder)
    more = {'../../escaped': torch.zeros(1), '/tmp/escaped': torch.zeros(1)}
    save_file(load_file(folder / 'model.safetensors') | more, folder / 'model.safetensors')
    with pytest.raises(DcvitError, match='escaped'):
        dcvit.load(folder)
    assert not (tmp_path.parent / 'escaped').exists() and not Path('/tmp/escaped').exists()


# kills


saver = '''
import os
import sys
import dcvit

family, folder, *kinds = sys.argv[1:]
family = dcvit.load_family(family)
made = [family if kind == 'family' else family.result(keep_macs=float(kind), polish=False) for kind in kinds]
for i, line in enumerate(sys.stdin):
    child = os.fork()
    while child == 0:
        made[i % len(made)].save(folder)
    print(child, flush=True)
    os.waitpid(child, 0)
    print('ended', flush=True)
'''
kills = 20  # each in a fork of its own


def kill_savers(saved, folder, kinds, kills, seed):
    "Have a process save over and over and kill it at a random instant; once for each kill"
    rng = random.Random(seed)
    words = [sys.executable, '-c', saver, str(saved / 'family'), str(folder), *kinds]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(words, **pipes) as parent:
        for i in range(kills):
            parent.stdin.write('go\n')
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            time.sleep(rng.uniform(0.001, 0.15))
            os.kill(child, signal.SIGKILL)
            parent.stdout.readline()  # it may still be exchanging folders until it has ended
            yield i
        parent.stdin.close()


saved_kinds = [('0.7', '0.55'), ('family',)]


@pytest.mark.parametrize('kinds', mostly(saved_kinds, saved_kinds[:1]), ids=['student', 'family'])
def test_killed_while_saving(kinds, saved, tmp_path, fault):
    "A folder is at every instant the whole old one or the whole new one"
    fault(
        'killed while a folder is first written or overwritten',
        'the whole old one or the whole new one',
        kills,
    )
    folder = tmp_path / 'out' / 'it'
    load = dcvit.load_family if kinds == ('family',) else dcvit.load
    for _ in kill_savers(saved, folder, kinds, kills, 0):
        if folder.exists():
            load(folder)
    family = dcvit.load_family(saved / 'family')
    made = family if kinds == ('family',) else family.result(keep_macs=0.6)
    made.save(folder)
    load(folder)
    assert [p.name for p in folder.parent.iterdir()] == ['it']


waiter = '''
import torch
from dcvit.base.spool import Spool

spool = Spool('cpu')
spool.put(0, torch.zeros(10_000))
print('waiting', flush=True)
input()
'''


def test_killed_while_tensors_wait(tmp_path):
    "Tensors that wait on disk are gone with the process"
    words = [sys.executable, '-c', waiter]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(words, env=os.environ | {'TMPDIR': str(tmp_path)}, **pipes) as process:
        assert process.stdout.readline() == 'waiting\n'
        process.kill()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_full_temporary_folder():
    "A disk without room is a sentence that names the folder"
    spool = Spool('cpu')
    spool._file = open('/dev/full', 'wb')
    with pytest.raises(DcvitError, match='cannot write to the temporary folder'):
        spool.put(0, torch.zeros(10_000))


# the command line


some_words = [
    'demo', 'info', 'compress', 'family', 'at', 'eval', 'export', 'bench', '--keep-macs', '--keep_params', '.5',
    '1e999', 'nan', '-1', '--n', '0', '-5', '--out', '/dev/null', '--recipe', '--set', 'lr=nan', 'space=x', '--args',
    '{}', '[1]', '{"a":', '--mean', '--eval', '--seed', '--device', 'meta', '--help', '--version', '', '-', '--',
    '--budgets', '.5,.6', 'x/../..', '\0', '--metric-set', '--latency-batch', '--block', '99', '--quiet',
]  # fmt: skip
words = st.one_of(st.sampled_from(some_words), st.text(max_size=10))


def would_start(*args, **kw):
    raise DcvitError('would start')


def test_any_command_line(capsys, tmp_path, monkeypatch, fault):
    "A status and at most one sentence; never a traceback. Commands that would start to work are not run here"
    fault('any words on the command line', 'status 0 or 2, at most one sentence', 40)
    monkeypatch.chdir(tmp_path)
    for name in ('compress', 'family', 'demo', 'bench'):
        same_options = functools.wraps(commands.commands[name])(would_start)
        monkeypatch.setitem(commands.commands, name, same_options)

    @given(st.lists(words, max_size=6))
    @many
    @limited()
    def check(argv):
        try:
            status = commands.run(argv)
        except SystemExit as e:
            status = e.code or 0
        err = capsys.readouterr().err
        assert status in (0, 2)
        assert 'Traceback' not in err and err.count('\n') <= 1 + ' '.join(argv).count('\n'), err

    check()


# numbers at the edge


def shortest_paper():
    lengths = dict(step_length=3, trial_length=3, metric_iters=3, metric_warmup=1)
    return dcvit.PaperRecipe(unit='step', augment='none', **lengths)


edges = ('half', 'bfloat16', 'constant', 'one', 'few')


@pytest.mark.parametrize('kind', mostly(edges, ('half', 'constant', 'one')))
def test_numbers_at_the_edge(kind, teacher, digits, fault):
    "Half-precision checkpoints, constant images, a single image, more neurons than samples: a finite student"
    what = 'float16 and bfloat16 teachers, constant images, one image, more neurons than samples'
    fault(what, 'a finite student', 2)
    model, x = deepcopy(teacher), digits['train'][:20]
    if kind in ('half', 'bfloat16'):
        model = model.to(dict(half=torch.float16, bfloat16=torch.bfloat16)[kind])
    x = dict(constant=torch.full_like(x, 128), one=x[:1], few=x[:2]).get(
        kind, x
    )  # 2: 34 tokens for 192 neurons
    dtype = next(model.parameters()).dtype
    for recipe in ('closed-form', shortest_paper()):
        made = dcvit.compress(model, x, keep_macs=0.6, **{**closed, 'recipe': recipe})
        assert all(p.isfinite().all() for p in made.model.parameters())
        assert all(np.isfinite(found['kl']) for found in made.report['fidelity'].values())
        assert next(model.parameters()).dtype == dtype  # the teacher is not changed


def test_pixels_that_are_not_numbers(teacher, digits):
    with pytest.raises(DcvitError, match='floats from 0 to 1'):
        x = digits['train'][:20].float() * float('nan')
        dcvit.compress(teacher, x, keep_macs=0.6, progress=False)


def test_the_global_random_state_stays(teacher, digits):
    state = torch.get_rng_state()
    dcvit.compress(teacher, digits['train'][:20], keep_macs=0.6, **closed)
    assert torch.equal(state, torch.get_rng_state())


def test_imports_are_light():
    "`import dcvit` takes nothing that is only needed later"
    later = 'timm torchvision matplotlib seaborn ipywidgets onnx onnxruntime onnxscript ray pandas'
    code = f'import sys, dcvit; print(*[m for m in {later.split()} if m in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == ''
