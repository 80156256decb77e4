"""Kill commands at random instants, again and again, and look at what is left each time.

python tests/kills.py 200          # writes nbs/results/kills.csv, which the page on faults reads; takes a while

Four commands write folders: `compress` (which goes on in its run folder), `at`, `family` and `export`. Each is killed
while it writes a new folder and while it overwrites one. After every kill the folder must not be there, or be one that
an uninterrupted command makes, bit for bit. When the kills are over, the same command must finish and make that too.
"""

import csv
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from forks import Forks

results = Path(__file__).resolve().parents[1] / 'nbs' / 'results' / 'kills.csv'
signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
weights = ('model.safetensors', 'family.safetensors')


def bits(folder):
    "What tells one student or family from another: its weights, and what it is said to be"
    found = hashlib.sha256()
    for name in weights:
        if (folder / name).exists():
            found.update((folder / name).read_bytes())
    return found.hexdigest()


def loads(folder):
    "Whether every file of a folder can be read"
    import dcvit
    from dcvit.ship.formats import OnnxModel

    load = dcvit.load_family if (folder / 'family.json').exists() else dcvit.load
    load(folder)
    if (folder / 'model.onnx').exists():
        OnnxModel(folder / 'model.onnx')


@dataclass
class Victim:
    "A command that writes a folder, in two versions that overwrite each other"

    name: str
    words: list  # of each version, without the folders
    resumes: bool = False  # whether it takes a run folder
    seed: int = 0
    kills: int = 0
    left: list = field(default_factory=list)  # what was there after each kill

    def command(self, version, place):
        "The words of a version that writes into `place`"
        words = [*self.words[version], '--out', place / 'out']
        return [*words, '--run-dir', place / f'run{version}'] if self.resumes else words


class Export(Victim):
    "`export` writes into the folder that it reads"

    def command(self, version, place):
        return ['export', place / 'out', '--n', '8', *['--int8'] * version]


def finished(forks, words):
    "Run a command to its end; seconds that it took"
    start = time.monotonic()
    child = forks.start(*words)
    child.wait(600)
    if child.returncode:
        raise SystemExit(f'{words} failed: {child.stderr}')
    return time.monotonic() - start


def killed(forks, words, seconds, number):
    "Run a command and kill it after so many seconds; whether it was still running"
    child = forks.start(*words)
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(number)
        child.wait(60)
        return True
    return False


def check(victim, out, good):
    "What a kill left: nothing, or a folder that an uninterrupted command makes; anything else is an error"
    if not out.exists():
        return 'nothing'
    loads(out)
    if bits(out) not in good:
        raise SystemExit(f'{victim.name}: a folder that no command makes')
    return 'a whole folder'


def torment(victim, forks, kills, prepare):
    "Kill a command so many times; returns a row for the table"
    rng = random.Random(victim.seed)
    with tempfile.TemporaryDirectory() as folder:
        good, seconds = set(), []
        for version in range(2):
            place = Path(folder) / f'whole{version}'
            prepare(place)
            seconds.append(finished(forks, victim.command(version, place)))
            good.add(bits(place / 'out'))
        place = Path(folder) / 'killed'
        prepare(place)
        while victim.kills < kills:
            version = rng.randrange(2)
            words = victim.command(version, place)
            after = rng.uniform(0, 1.1) * seconds[version]
            if killed(forks, words, after, signals[victim.kills % 3]):
                victim.kills += 1
                victim.left.append(check(victim, place / 'out', good))
            else:
                shutil.rmtree(place / f'run{version}', ignore_errors=True)
        finished(forks, victim.command(0, place))
        check(victim, place / 'out', good)
        beside = {p.name for p in place.iterdir()} - {'out', 'run0', 'run1'}
        if beside:
            raise SystemExit(f'{victim.name} left {beside}')
    nothing = victim.left.count('nothing')
    return dict(
        command=victim.name,
        kills=victim.kills,
        nothing_yet=nothing,
        whole_folder=victim.kills - nothing,
        lost=0,
        mixtures=0,
    )


def main(kills):
    forks = Forks()
    with tempfile.TemporaryDirectory() as made:
        family, student = Path(made) / 'family', Path(made) / 'student'
        recipe = ['--recipe', 'closed-form', '--n', '30', '--quiet']
        finished(forks, ['family', 'demo', '--n', '30', '--out', family, '--quiet'])
        finished(forks, ['at', family, '--keep-macs', '.6', '--out', student])
        compress = [['compress', 'demo', '--keep-macs', keep, *recipe] for keep in ('.6', '.5')]
        at = [['at', family, '--keep-macs', keep] for keep in ('.6', '.5')]
        families = [
            ['family', 'demo', '--n', '30', '--budgets', span, '--quiet']
            for span in ('.5,.9', '.6,.8')
        ]

        def empty(place):
            place.mkdir()

        def with_student(place):
            shutil.copytree(student, place / 'out')

        victims = [
            (Victim('compress', compress, resumes=True, seed=1), empty),
            (Victim('at', at, seed=2), empty),
            (Victim('family', families, seed=3), empty),
            (Export('export', [], seed=4), with_student),
        ]
        rows = []
        for victim, prepare in victims:
            rows.append(torment(victim, forks, kills // len(victims), prepare))
            print(rows[-1], flush=True)
    with open(results, 'w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    forks.close()


if __name__ == '__main__':
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
