import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forks import Forks, at_once
from PIL import Image
from safetensors.torch import save_file

import dcvit
from dcvit.base import clock
from dcvit.images.demo import demo_config, demo_data, demo_teacher
from dcvit.ship.arch import describe

torch.set_num_threads(1)
command = str(Path(sys.executable).parent / 'dcvit')
root = Path(__file__).resolve().parents[1]
experiments = root / 'nbs' / 'experiments'
shared = root.parent / 'shared'


def equal(a, b):
    "Whether two state dicts hold the same bits"
    return {*a} == {*b} and all(a[k].shape == b[k].shape and torch.equal(a[k], b[k]) for k in a)


def compress(teacher, images, **kw):
    "Without bars, and without timings that take seconds"
    return dcvit.compress(teacher, images, **{'timing': False, 'progress': False, **kw})


@pytest.fixture(scope='session')
def demo():
    return demo_teacher()


@pytest.fixture(scope='session')
def teacher():
    "The first four blocks of the demo teacher: twelve would take three times as long, and show no more"
    model = demo_teacher()
    model.blocks = model.blocks[:4]
    return model


@pytest.fixture(scope='session')
def digits():
    return demo_data()


@pytest.fixture(scope='session')
def on_disk(tmp_path_factory, teacher, digits):
    "The teacher's description and digits in class folders, as words for the command line"
    folder = tmp_path_factory.mktemp('on_disk')
    description = dict(describe(teacher), **demo_config)
    (folder / 'teacher.json').write_text(json.dumps(description))
    save_file(teacher.state_dict(), folder / 'teacher.safetensors')
    for i in range(100):
        of_class = folder / 'digits' / str(digits['train_y'][i].item())
        of_class.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits['train'][i, 0].numpy()).save(of_class / f'{i}.png')
    return folder / 'teacher.json', folder / 'digits'


@pytest.fixture(scope='session')
def installed():
    "Run the installed command as a user does; returns the finished process"

    def run(*args, **kw):
        words = [command, *map(str, args)]
        return subprocess.run(words, capture_output=True, text=True, timeout=300, **kw)

    return run


@pytest.fixture(scope='session')
def forks():
    "Starts commands in forks of a process that has everything imported"
    started = Forks()
    yield started
    started.close()


@pytest.fixture(scope='session')
def cli(forks):
    "Run the command line in a process of its own; returns it when it is finished"

    def run(*args, **kw):
        child = forks.start(*args, **kw)
        child.wait(300)
        return child

    return run


@pytest.fixture
def few_turns(monkeypatch):
    "Timings end as soon as they may: for tests of what is made of them, whatever they are"
    monkeypatch.setattr(clock, '_turns', at_once(clock._turns))


@pytest.fixture
def fault(record_property):
    "Write down what a test does to the library, how often, and what must come of it: the faults page reads it"

    def record(what, comes_to, tried=1):
        for name, value in dict(fault=what, comes_to=comes_to, tried=tried).items():
            record_property(name, value)

    return record


def mostly(cases, often):
    "Cases of a test; those that are not among `often` run only with --thorough"
    return [pytest.param(c, marks=() if c in often else pytest.mark.thorough) for c in cases]


def pytest_addoption(parser):
    text = 'one model of every supported family of timm, at full size'
    parser.addoption('--full', action='store_true', help=text)
    text = 'also the tests whose shorter siblings run anyway'
    parser.addoption('--thorough', action='store_true', help=text)


def pytest_configure(config):
    text = 'thorough: a shorter sibling runs anyway; run with --thorough'
    config.addinivalue_line('markers', text)


# files that take long go first, so that no process is left alone with one of them at the end
longest = ('test_baselines', 'test_deploy', 'test_families', 'test_runners', 'test_runs')


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: item.path.stem not in longest)
    if config.getoption('--thorough'):
        return
    skipped = pytest.mark.skip(reason='a shorter sibling runs; all of them with --thorough')
    for item in items:
        if 'thorough' in item.keywords:
            item.add_marker(skipped)
