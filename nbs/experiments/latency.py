"""Latency as the paper measures it: batches of 64, 500 calls, the teacher and its students in turns.

The structures are those of a table of `others.py`; what the search finds may see fewer tokens, which the table does not
say, so its students are made again. Needs a quiet machine.

python nbs/experiments/latency.py nbs/experiments/teachers/vit.json DATA
"""

import pandas as pd
from common import from_text, image_files
from fastcore.script import call_parse

import dcvit
from dcvit.images.measure import latency
from dcvit.model.reading import read
from dcvit.model.surgery import prune
from dcvit.model.tracing import input_shape


def made_again(model, data, n, keep):
    "The student of the search"
    how = dict(recipe='closed-form', n=n, seed=0, timing=False, progress=False)
    return dcvit.compress(model, image_files(f'{data}/train'), keep_macs=keep, **how).model


def students(model, rows, data, n):
    "`{(system, keep): student}`"
    net = read(model)
    found = {}
    for row in rows.itertuples():
        if row.system == 'closed-form':
            found[row.system, row.keep] = made_again(model, data, n, row.keep)
        elif row.length:
            found[row.system, row.keep] = prune(model, from_text(row.blocks), net=net)
    return found


def write(timed, batch, out):
    "A row for the teacher and for each student"
    names = pd.MultiIndex.from_tuples(timed, names=['system', 'keep'])
    pd.DataFrame(timed.values(), index=names).assign(batch=batch).to_csv(out)


@call_parse
def main(
    teacher: str,
    data: str,  # folder with train/, for the students of the search
    table: str = 'nbs/results/others_vit.csv',
    out: str = 'nbs/results/latency_vit.csv',
    n: int = 50,  # few-shot images of the rows
    steps: int = 200,  # their gradient steps, where they have any
    batch: int = 64,
    runs: int = 500,
):
    "Time the students of a table's first split next to their teacher"
    model = dcvit.load_teacher(teacher).requires_grad_(False)
    rows = pd.read_csv(table).query('n==@n and seed==0 and length in [0, @steps]')
    models = {('teacher', 1.0): model} | students(model, rows, data, n)
    timed = latency(models, input_shape(model), batch, runs=runs, seconds=3600)
    write(timed, batch, out)
