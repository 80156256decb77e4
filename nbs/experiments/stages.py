"""What each stage of `closed-form` pays: surgery alone, its parts solved one by one, the walk through the student.

python nbs/experiments/stages.py TEACHER.json DATA --n 50 --out nbs/results/cifar_stages.csv
"""

from dataclasses import replace

from common import Table, few_shot_sets, load, to_text
from fastcore.script import Param, call_parse

import dcvit
from dcvit.images.config import data_config
from dcvit.images.measure import Judge, top1
from dcvit.images.run import Run
from dcvit.model.blocks import PARTS
from dcvit.model.reading import read
from dcvit.search.assemble import assemble
from dcvit.search.bases import directions_of
from dcvit.search.statistics import statistics_of, take_in


def unsolved(stats):
    "Statistics that know which units are best, and nothing that weights could be solved from"
    return {key: replace(stat, G=None) if key[1] in PARTS else stat for key, stat in stats.items()}


def seen(model, few):
    "What reads the images, and statistics of all of them but those that check"
    run = Run(teacher=model, net=read(model), few=few)
    stats = statistics_of(run)
    stats |= directions_of(run, stats)
    take_in(stats)
    return run, stats


def students(model, few, keep, seed):
    "`({stage: student}, structure)`"
    how = dict(recipe='closed-form', seed=seed, device='cpu', timing=False, progress=False)
    made = dcvit.compress(model, few.images or few.pixels, keep_macs=keep, **how)
    run, stats = seen(model, few)
    s = made.structure
    bare = assemble(model, run.net, s, unsolved(stats))
    solved = assemble(model, run.net, s, stats)
    return {'surgery alone': bare, 'solved': solved, 'refit': made.model}, s


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/stages.csv',  # finished rows are kept and not run again
    keep: str = '0.9,0.75,0.6,0.5,0.4',  # fractions of the teacher's MACs
    n: str = '50',
    seeds: str = '0,1,2',
):
    "Measure every stage at every budget and append a row for each"
    model, source, x, labels = load(teacher, data)
    judge = Judge(model, x)
    table = Table(out)
    own = top1(judge.expected, labels)
    for few, keys in few_shot_sets(table, source, data_config(model), n, seeds, keep):
        made, structure = students(model, few, keys['keep'], keys['seed'])
        for stage, student in made.items():
            scores = judge.scores(student, labels)
            table.add(**keys, stage=stage, **scores, top1_teacher=own, blocks=to_text(structure))
