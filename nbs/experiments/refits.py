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


class Bench:
    "A teacher, its test images, and the table"

    def __init__(self, teacher, data, out, every):
        self.name = Path(teacher).stem
        self.model, self.source, x, _ = load(teacher, data)
        self.net = read(self.model)
        self.test = Judge(self.model, x[::every], tempered=True)
        self.table = Table(out)

    def losses(self, run, keep, space):
        "KL of one student before its refit and after it, and how many layers were solved for again"
        recipe = SearchRecipe(space=space, refit=False, step_length=0)
        student = by_search(run, budget(self.net, keep_macs=keep), recipe).student
        check = Judge(run.teacher, run.batches('check'), tempered=True)
        refitted = copied(student)
        said = refit(refitted, run.teacher, run.few, self.net, judge=check)
        before, after = self.test.loss(student), self.test.loss(refitted)
        return dict(before=before, after=after, layers=len(said))

    def fill(self, space, n, seeds, keeps):
        "The rows of one kind of structures"
        asked = (data_config(self.model), n, seeds, keeps)
        keys_of_all = dict(teacher=self.name, space=space)
        for few, keys in few_shot_sets(self.table, self.source, *asked, **keys_of_all):
            how = dict(teacher=self.model, net=self.net, seed=keys['seed'], progress=False)
            self.table.add(**keys, **self.losses(Run(few=few, **how), keys['keep'], space))


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
    bench = Bench(teacher, data, out, every)
    for space in spaces.split(','):
        bench.fill(space, n, seeds, keeps)
