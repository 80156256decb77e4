"""Kill commands at random instants, again and again, and look at what is left each time.

python tests/kills.py 50              # each command; writes nbs/results/kills.csv, which the page on faults reads
python tests/kills.py 50 at export    # only these; rows of others stay

Four commands write folders: `compress` (which goes on in its run folder), `at`, `family` and `export`. Each is killed
while it writes a new folder and while it overwrites one. After every kill a folder that was there must still be there,
and be one that an uninterrupted command makes, with the same weights bit for bit. When the kills are over, the same
command must finish and make that too.
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
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from forks import Forks

import dcvit
from dcvit.base.errors import DcvitError
from dcvit.ship.formats import OnnxModel

results = Path(__file__).resolve().parents[1] / 'nbs' / 'results' / 'kills.csv'
signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
weights = ('model.safetensors', 'family.safetensors')


def bits(folder):
    "What tells one student or family from another: its weights"
    found = hashlib.sha256()
    for name in weights:
        if (folder / name).exists():
            found.update((folder / name).read_bytes())
    return found.hexdigest()


def load_all(folder):
    "Read every file of a folder; raises `DcvitError` where one is broken or belongs to another"
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


def look(out, good, was_there):
    "What a kill left: 'nothing_yet', 'whole_folder', and what must not be: 'lost', 'mixtures'"
    if not out.exists():
        return 'lost' if was_there else 'nothing_yet'
    try:
        load_all(out)
    except DcvitError:
        return 'mixtures'
    return 'whole_folder' if bits(out) in good else 'mixtures'


def torment(victim, forks, kills, prepare):
    "Kill a command so many times; returns a row for the table"
    rng = random.Random(victim.seed)
    left = Counter()
    with tempfile.TemporaryDirectory() as folder:
        good, seconds = set(), []
        for version in range(2):
            place = Path(folder) / f'whole{version}'
            prepare(place)
            seconds.append(finished(forks, victim.command(version, place)))
            good.add(bits(place / 'out'))
        place = Path(folder) / 'killed'
        prepare(place)
        while left.total() < kills:
            version = rng.randrange(2)
            words = victim.command(version, place)
            after = rng.uniform(0, 1.1) * seconds[version]
            was_there = (place / 'out').exists()
            if killed(forks, words, after, signals[left.total() % 3]):
                left[look(place / 'out', good, was_there)] += 1
            else:
                shutil.rmtree(place / f'run{version}', ignore_errors=True)
        finished(forks, victim.command(0, place))
        end = look(place / 'out', good, was_there=True)
        beside = {p.name for p in place.iterdir()} - {'out', 'run0', 'run1'}
    if end != 'whole_folder' or beside:
        raise SystemExit(
            f'{victim.name} ended with {end}, and left {beside or "nothing"} beside it'
        )
    outcomes = ('nothing_yet', 'whole_folder', 'lost', 'mixtures')
    return dict(command=victim.name, kills=kills, **{name: left[name] for name in outcomes})


def keep(row):
    "Write a row into the table, in place of an older one of the same command"
    rows = {}
    if results.exists():
        with open(results, newline='') as file:
            rows = {old['command']: old for old in csv.DictReader(file)}
    rows[row['command']] = row
    with open(results, 'w', newline='') as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerows(rows.values())


def main(kills, names):
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
        for victim, prepare in victims:
            if victim.name in names or not names:
                row = torment(victim, forks, kills, prepare)
                print(row, flush=True)
                keep(row)
    forks.close()


if __name__ == '__main__':
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50, sys.argv[2:])
