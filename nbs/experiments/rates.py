"""What gradients make of searched students at several learning rates, on their check images and on test images.

TEACHER is 'demo' or a JSON file that names a timm model (see `dcvit.load_teacher`); DATA has train/ and test/ with
one folder per class.

python nbs/experiments/rates.py demo --out nbs/results/rates.csv
"""

from dataclasses import replace
from pathlib import Path

from common import Table, few_shot_sets, load
from fastcore.script import Param, call_parse

from dcvit.base.copying import copied
from dcvit.images.config import data_config
from dcvit.images.measure import Judge
from dcvit.images.run import Run
from dcvit.model.budget import budget
from dcvit.model.reading import read
from dcvit.paper.mimic import Training
from dcvit.paper.targets import targets_of
from dcvit.search.gradients import averaged, is_clearly_harmed, is_harmed, rate_factors, trial_steps
from dcvit.search.method import SearchRecipe, by_search

fast = SearchRecipe(minutes=0)
looks = (*trial_steps, fast.step_length)


class Bench:
    "A student in front of its gradient stage, and the images that judge it"

    def __init__(self, run, keep, test):
        closed_form = SearchRecipe(step_length=0)
        self.run = run
        self.start = by_search(run, budget(run.net, keep_macs=keep), closed_form).student
        self.targets = targets_of(run, fast, run.few.splits.seen)
        self.check = Judge(run.teacher, run.batches('check'), tempered=True)
        self.test = test
        self.before = self.check.distances(self.start)

    def measured(self, student, step):
        "How far a student is from the teacher, and what the check images make of it"
        now = self.check.distances(student)
        said = dict(harmed=is_harmed(self.before, now), clearly=is_clearly_harmed(self.before, now))
        test, agreement = self.test.loss(student), self.test.scores(student)['agreement']
        return dict(step=step, check=now.mean().item(), **said, test=test, agreement=agreement)

    def descend(self, recipe):
        "What is measured along the way, at one learning rate"
        run, student = self.run, copied(self.start)
        steps, last = recipe.step_length, len(run.net) - 1
        training = Training(student, self.targets, recipe, steps, last, run.seed)
        for step, average in averaged(training, progress=False):
            if step in looks:
                yield dict(lr=recipe.lr, **self.measured(average, step))

    def rows(self):
        "The closed form, and every look at every learning rate"
        yield dict(lr=0.0, **self.measured(self.start, 0))
        for factor in rate_factors:
            yield from self.descend(replace(fast, lr=fast.lr * factor))


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
    asked = (n, seeds, keeps)
    name = Path(teacher).stem
    for few, keys in few_shot_sets(table, source, data_config(model), *asked, teacher=name):
        run = Run(teacher=model, net=net, few=few, seed=keys['seed'], progress=False)
        bench = Bench(run, keys['keep'], test)
        for row in [*bench.rows()]:  # all or none: a key that the table has is not run again
            table.add(**keys, **row)
