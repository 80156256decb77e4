"""Runs that are killed or interrupted, and go on."""

import random
import shutil
import signal
import subprocess
import time

import pytest
from conftest import command, compress, equal
from safetensors.torch import load_file

from dcvit import PaperRecipe, SearchRecipe

sets = 'trial_length=6,step_length=4,metric_iters=20,metric_warmup=2,unit=step,lr=3e-4'
words_of_recipe = ['--n', '12', '--keep_macs', '.7', '--recipe', 'paper', '--set', sets]


def assert_same(a, b):
    assert equal(*(load_file(folder / 'model.safetensors') for folder in (a, b)))


@pytest.fixture(scope='module')
def words(on_disk):
    return ['compress', *on_disk, *words_of_recipe]


@pytest.fixture(scope='module')
def whole(tmp_path_factory, words, cli):
    "An uninterrupted run"
    folder = tmp_path_factory.mktemp('whole')
    assert cli('--version').returncode == 0  # the first command of a session waits for imports
    start = time.time()
    done = cli(*words, '--seed', 3, '--out', folder / 'student', '--run_dir', folder / 'run')
    assert done.returncode == 0, done.stderr
    return folder, time.time() - start


def test_killed_at_random_instants_and_resumed(whole, words, tmp_path, cli, forks, fault):
    "Killed again and again, each time going on; the student is the same, bit for bit"
    folder, seconds = whole
    rng, kills = random.Random(0), 0
    words = [*words, '--seed', 3, '--out', tmp_path / 'student', '--run_dir', tmp_path / 'run']
    for _ in range(7):
        child = forks.start(*words)
        try:
            child.wait(rng.uniform(0.05, 0.7) * seconds)
        except subprocess.TimeoutExpired:
            child.send_signal((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[kills % 3])
            kills += 1
        child.wait(60)
        if kills >= 4 and not child.returncode:
            break
        if not child.returncode:  # finished before the kill: start over
            shutil.rmtree(tmp_path / 'run')
            shutil.rmtree(tmp_path / 'student')
    assert kills >= 4
    what = 'killed at a random instant (SIGKILL, SIGTERM, Ctrl-C in turn), then run again'
    fault(what, 'the same bits', kills)
    assert cli(*words).returncode == 0
    assert_same(tmp_path / 'student', folder / 'student')


def test_no_partial_files(whole):
    assert not [p for p in whole[0].rglob('.*') if p.name != '.lock']


def test_other_configuration_is_refused(whole, words, cli):
    other, run = whole[0] / 'other', whole[0] / 'run'
    done = cli(*words, '--seed', 4, '--out', other, '--run_dir', run)
    assert done.returncode == 2
    assert 'another configuration: ' in done.stderr and 'seed (3 before, 4 now)' in done.stderr


def listen():
    "Ctrl-C reaches the child even where this process was started in the background, which ignores it"
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c(tmp_path, fault):
    fault('Ctrl-C', 'status 130, one line')
    words = ['compress', 'demo', '--keep-macs', '.6', '--recipe', 'paper', '--out', tmp_path / 's']
    words += ['--run-dir', tmp_path / 'run']
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    child = subprocess.Popen([command, *map(str, words)], preexec_fn=listen, **pipes)
    end = time.time() + 60
    while not (tmp_path / 'run').exists() and time.time() < end:
        time.sleep(0.1)
    time.sleep(2)  # at work, not at its start
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and 'Traceback' not in err
    assert not (tmp_path / 's').exists()


def test_augmented_paper_recipe_resumes(teacher, digits, tmp_path):
    "The paper's recipe, shortened: augmentation and trials resume too"
    recipe = PaperRecipe(trial_length=2, step_length=2, views=2, metric_iters=10, metric_warmup=2)

    def run(folder):
        made = compress(
            teacher, digits['train'], n=10, keep_macs=0.75, recipe=recipe, run_dir=folder
        )
        return made.model.state_dict()

    first = run(tmp_path / 'a')
    shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    steps, trials = (sorted((tmp_path / 'b' / name).iterdir()) for name in ('steps', 'trials'))
    for file in [*steps, *trials[3:]]:
        file.unlink()
    assert equal(first, run(tmp_path / 'b'))


def test_searched_run_resumes(teacher, digits, tmp_path):
    "Search, refit and mimic are pieces of their own; whatever is missing is made again, bit for bit"

    def run(folder):
        recipe = SearchRecipe(step_length=6)
        made = compress(
            teacher, digits['train'], n=30, keep_macs=0.1, recipe=recipe, run_dir=folder
        )
        return made.model.state_dict(), made.report['gradients']

    first, said = run(tmp_path / 'a')
    assert said['steps'] == 6
    pieces = ['steps/mimic', 'steps/refit', 'search']
    for n in (1, 2, 3):
        folder = tmp_path / f'without_{n}'
        shutil.copytree(tmp_path / 'a', folder)
        for piece in pieces[:n]:
            (folder / f'{piece}.safetensors').unlink()
        weights, said_again = run(folder)
        assert equal(first, weights) and said_again == said, pieces[:n]
