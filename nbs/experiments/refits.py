"""What a refit makes of students of a few images: their KL on test images before it and after it.

TEACHER is 'demo' or a JSON file that names a timm model (see `dcvit.load_teacher`); DATA has train/ and test/ with
one folder per class.

python nbs/experiments/refits.py TEACHER.json DATA --out nbs/results/refits.csv
"""

from pathlib import Path

from common import Table, few_shot_sets, load
from fastcore.script import Param, call_parse

from dcvit.base.copying import copied
from dcvit.images.config import data_config
from dcvit.images.measure import Judge
from dcvit.images.run import Run
from dcvit.model.budget import budget
from dcvit.model.reading import read
from dcvit.search.method import SearchRecipe, by_search
from dcvit.search.refit import refit


def losses(run, keep, space, test):
    "KL of one student before its refit and after it, and how many layers were solved for again"
    recipe = SearchRecipe(space=space, refit=False, step_length=0)
    student = by_search(run, budget(run.net, keep_macs=keep), recipe).student
    check = Judge(run.teacher, run.batches('check'), tempered=True)
    refitted = copied(student)
    said = refit(refitted, run.teacher, run.few, run.net, judge=check)
    return dict(before=test.loss(student), after=test.loss(refitted), layers=len(said))


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/refits.csv',  # finished rows are kept and not run again
    spaces: str = 'uniform,search',
    keeps: str = '0.5,0.4',  # fractions of the teacher's MACs
    n: str = '50',
    seeds: str = '0,1,2',
    every: int = 5,  # of how many test images one is used
):
    "A row for each student"
    model, source, x, _ = load(teacher, data)
    net, table, test = read(model), Table(out), Judge(model, x[::every], tempered=True)
    cfg, name = data_config(model), Path(teacher).stem
    for space in spaces.split(','):
        keys_of_all = dict(teacher=name, space=space)
        for few, keys in few_shot_sets(table, source, cfg, n, seeds, keeps, **keys_of_all):
            run = Run(teacher=model, net=net, few=few, seed=keys['seed'], progress=False)
            table.add(**keys, **losses(run, keys['keep'], space, test))
