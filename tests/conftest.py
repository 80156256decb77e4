import subprocess, sys
from pathlib import Path

import pytest, timm, torch
from dcvit.data import data_config, demo_data, demo_teacher

torch.set_num_threads(1)
command = str(Path(sys.executable).parent/'dcvit')
shared = Path(__file__).resolve().parents[1].parent/'shared'

@pytest.fixture(scope='session')
def teacher(): return demo_teacher()

@pytest.fixture(scope='session')
def digits(): return demo_data()

@pytest.fixture(scope='session')
def cli():
    "Run the command line as a user does; returns the finished process"
    def run(*args, **kw): return subprocess.run([command, *map(str, args)], capture_output=True, text=True, timeout=300, **kw)
    return run

def pytest_addoption(parser): parser.addoption('--full', action='store_true', help='one model of every supported family of timm, at full size')
