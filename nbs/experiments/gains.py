"""What gradient steps bring to students that already predict nearly what their teacher does.

python nbs/experiments/gains.py demo --keeps .35,.3,.25,.2,.15 --n 100,200 --seeds 0,1,2 --out nbs/results/gains.csv
"""

from common import Table, few_shot_sets, load
from fastcore.script import Param, call_parse

from dcvit.images.config import data_config
from dcvit.images.measure import Judge
from dcvit.images.run import Run
from dcvit.model.budget import budget
from dcvit.model.reading import read
from dcvit.recipes import get_recipe
from dcvit.search.gradients import _Descent, _first_without_harm
from dcvit.search.method import by_search
from dcvit.search.replay import Replay


def trained(run, start):
    "`(student behind gradient steps, judge on the check images, what was taken)`"
    judge = Replay(run.teacher, run.net, run.batches('check'), tempered=True)
    end, lr, steps = _first_without_harm(_Descent(start, run, get_recipe('fast'), judge))
    return end, judge, dict(lr=lr, steps=steps)


def gained(run, keep, on_test):
    "KL on the check images and on the test images, before gradient steps and behind them"
    asked = budget(run.net, keep_macs=keep)
    start = by_search(run, asked, get_recipe('closed-form')).student
    end, judge, found = trained(run, start)
    for when, student in dict(before=start, after=end).items():
        scores = dict(check=judge.loss(student), **on_test.scores(student))
        found |= {f'{k}_{when}': v for k, v in scores.items()}
    return found


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/gains.csv',  # finished rows are kept and not run again
    keeps: str = '.35,.3,.25,.2,.15',  # fractions of the teacher's MACs
    n: str = '100,200',  # few-shot images
    seeds: str = '0,1,2',
):
    "Run every combination and append a row for each"
    model, source, x, _ = load(teacher, data)
    table, on_test = Table(out), Judge(model, x)
    net, cfg = read(model), data_config(model)
    for few, row in few_shot_sets(table, source, cfg, n, seeds, keeps, teacher=teacher):
        run = Run(teacher=model, net=net, few=few, seed=row['seed'], progress=False)
        table.add(**row, **gained(run, row['keep'], on_test))
