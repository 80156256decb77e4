"""Do the check images say what test images say? The KL of students at several budgets, on both.

TEACHER is 'demo' or a JSON file that names a timm model (see `dcvit.load_teacher`); DATA has train/ and test/ with
one folder per class.

python nbs/experiments/held_out.py demo --out nbs/results/held_out_digits.csv
"""

from common import Table, few_shot_sets, load
from fastcore.script import Param, call_parse

import dcvit
from dcvit.images.config import data_config
from dcvit.images.measure import Judge


def losses(model, few, keep, seed, judge, labels):
    "KL of one student on the images that chose it, that check it, and that test it"
    how = dict(recipe='closed-form', seed=seed, timing=False, progress=False)
    made = dcvit.compress(model, few.images or few.pixels, keep_macs=keep, **how)
    check, chosen = made.report['fidelity']['check'], made.report['search']
    test = judge.scores(made.model, labels)
    return dict(check=check['kl'], test=test['kl'], chosen=chosen['loss'])


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    out: str = 'nbs/results/held_out.csv',  # finished rows are kept and not run again
    keeps: str = '0.8,0.6,0.5,0.4,0.35,0.3,0.25',  # fractions of the teacher's MACs
    n: str = '50,500',
    seeds: str = '0,1',
):
    "Compress in closed form and append a row for each student"
    model, source, x, labels = load(teacher, data)
    judge, table = Judge(model, x), Table(out)
    for few, keys in few_shot_sets(table, source, data_config(model), n, seeds, keeps):
        found = losses(model, few, keys['keep'], keys['seed'], judge, labels)
        table.add(**keys, **found)
