"""What gradients make of searched students at several learning rates, on their check images and on test images.

TEACHER is 'demo' or a JSON file that names a timm model (see `dcvit.load_teacher`); DATA has train/ and test/ with
one folder per class.

python nbs/experiments/rates.py demo --out nbs/results/rates.csv
"""

from dataclasses import replace
from pathlib import Path

from common import Table, few_shot_sets, load, numbers
from fastcore.script import Param, call_parse

from dcvit.base.copying import copied
from dcvit.images.config import data_config
from dcvit.images.measure import Judge, distances
from dcvit.images.run import Run
from dcvit.model.budget import budget
from dcvit.model.reading import read
from dcvit.paper.mimic import Training
from dcvit.paper.targets import targets_of
from dcvit.search.gradients import Average, is_clearly_harmed, is_harmed
from dcvit.search.method import SearchRecipe, by_search

factors = (1.0, 1 / 3, 1 / 10)  # of the recipe's learning rate
looks = (20, 40, 200)  # steps


class Bench:
    "A student in front of its gradient stage, and the images that judge it"

    def __init__(self, run, keep, test):
        closed_form = SearchRecipe(step_length=0)
        self.run = run
        self.start = by_search(run, budget(run.net, keep_macs=keep), closed_form).student
        self.check = Judge(run.teacher, run.batches('check'), tempered=True)
        self.test = test
        self.before = self.distances(self.start)

    def distances(self, student):
        "Distance of each check image from the teacher"
        out = self.check.compared(student)
        return distances(self.check.expected, out, self.check.classes)

    def measured(self, student, step):
        "How far a student is from the teacher, and what the check images make of it"
        now = self.distances(student)
        said = dict(harmed=is_harmed(self.before, now), clearly=is_clearly_harmed(self.before, now))
        test, agreement = self.test.loss(student), self.test.scores(student)['agreement']
        return dict(step=step, check=now.mean().item(), **said, test=test, agreement=agreement)

    def descend(self, recipe):
        "What is measured along the way, at one learning rate"
        run, student = self.run, copied(self.start)
        seen, last = run.few.splits.seen, len(run.net) - 1
        targets = targets_of(run, recipe)
        training = Training(student, targets, recipe, seen, recipe.step_length, last, run.seed)
        average = Average(student)
        for step in training.run(progress=False):
            average.take_in(student)
            if step in looks:
                yield self.measured(average.model, step)


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/rates.csv',  # finished rows are kept and not run again
    keeps: str = '0.6,0.5,0.4,0.3',  # fractions of the teacher's MACs
    n: str = '50,500',
    seeds: str = '0',
    tests: int = 2000,  # test images
):
    "A row for each student, learning rate and look; step 0 is the closed form"
    model, source, x, _ = load(teacher, data)
    net, table, test = read(model), Table(out), Judge(model, x[:tests], tempered=True)
    for count, seed, few in few_shot_sets(source, data_config(model), n, seeds):
        run = Run(teacher=model, net=net, few=few, seed=seed, progress=False)
        for keep in numbers(keeps):
            keys = dict(teacher=Path(teacher).stem, n=count, seed=seed, keep=keep)
            if table.has(**keys):
                continue
            bench = Bench(run, keep, test)
            rows = [dict(lr=0.0, **bench.measured(bench.start, 0))]
            fast = SearchRecipe(minutes=0)
            for factor in factors:
                recipe = replace(fast, lr=fast.lr * factor)
                rows += [dict(lr=recipe.lr, **row) for row in bench.descend(recipe)]
            for row in rows:
                table.add(**keys, **row)
