"""The command line in processes of its own, without seconds of imports for each.

One process has everything imported and forks for every command. Nothing was computed in it before, so a fork is what
a fresh `dcvit` is after its imports, but for timings, which end as soon as they may. Some tests run the installed
command all the same, as users do.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

wait_between = 0.005  # seconds
# what commands import when they need it; each fork would do so again
imported = (
    'timm.data',
    'matplotlib.pyplot',
    'onnxruntime.quantization',
    'onnxscript.function_libs.torch_lib.ops',
    'torch.export._trace',
    'torch.onnx._internal.exporter._core',
)


def at_once(turns):
    "Turns that end as soon as they may: for tests of what is made of timings, whatever they are"
    return lambda seconds, runs, least: turns(0, runs, least)


def serve():
    "Fork for every request that comes in, a line of JSON each"
    for name in imported:
        importlib.import_module(name)
    from dcvit.base import clock
    from dcvit.cli.main import run

    clock._turns = at_once(clock._turns)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            _watch(json.loads(line), run)


def _watch(request, run):
    "Run a command in a fork; write down its number at once, and its status at the end"
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    folder = Path(request['folder'])
    child = os.fork()
    if child == 0:
        _become(request, run)
    _write(folder / 'pid', child)
    _, status = os.waitpid(child, 0)
    _write(folder / 'status', os.waitstatus_to_exitcode(status))
    os._exit(0)


def _write(path, number):
    beside = path.with_suffix('.new')
    beside.write_text(str(number))
    beside.rename(path)


def _become(request, run):
    "Be the command: its words, its folder, its output"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request['cwd'])
    for name, number in (('stdout', 1), ('stderr', 2)):
        file = os.open(Path(request['folder']) / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
    status = 1
    try:
        status = run(request['words'])
    except SystemExit as e:
        status = e.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Command:
    "A command that runs, with the part of `subprocess.Popen` that tests use"

    def __init__(self, folder, words):
        self.folder = Path(folder)
        self.args = words
        self.returncode = None
        self.pid = self._number('pid', 30)

    def _number(self, name, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError):
                return int((self.folder / name).read_text())
            time.sleep(wait_between)
        raise subprocess.TimeoutExpired(self.args, seconds)

    def wait(self, timeout):
        self.returncode = self._number('status', timeout)
        return self.returncode

    def send_signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def stdout(self):
        return (self.folder / 'stdout').read_text()

    @property
    def stderr(self):
        return (self.folder / 'stderr').read_text()


class Forks:
    "Starts commands"

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        words = [sys.executable, __file__]
        self.server = subprocess.Popen(words, stdin=subprocess.PIPE, text=True)

    def start(self, *words, cwd='.'):
        folder = tempfile.mkdtemp(dir=self.folder.name)
        words = [*map(str, words)]
        request = dict(folder=folder, words=words, cwd=os.path.abspath(cwd))
        self.server.stdin.write(json.dumps(request) + '\n')
        self.server.stdin.flush()
        return Command(folder, words)

    def close(self):
        self.server.stdin.close()
        self.server.wait()
        self.folder.cleanup()


if __name__ == '__main__':
    serve()
