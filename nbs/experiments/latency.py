"""Latency as the paper measures it: batches of 64, 500 calls, the teacher and its students in turns.

The structures are those of a table of `others.py`. Needs a quiet machine.

python nbs/experiments/latency.py nbs/experiments/teachers/vit.json
"""

import pandas as pd
from common import from_text
from fastcore.script import call_parse

import dcvit
from dcvit.base.errors import DcvitError
from dcvit.images.measure import latency
from dcvit.model.reading import read
from dcvit.model.structure import cost
from dcvit.model.surgery import prune
from dcvit.model.tokens import read_seeing
from dcvit.model.tracing import input_shape


def made(model, net, row):
    "The student of a row; raises `DcvitError` where the row does not say all of its structure"
    structure = from_text(row.blocks)
    macs = cost(read_seeing(model, net, structure), structure).macs
    if abs(macs / net.total.macs - row.reached) > 1e-3:
        raise DcvitError(f'the table does not say how {row.system} is made at {row.keep}')
    return prune(model, structure, net=net)


def students(model, rows):
    "`{(system, keep): student}`; `fast` has the structures of `closed-form`"
    net = read(model)
    timed = rows[rows.system != 'fast']
    return {(row.system, row.keep): made(model, net, row) for row in timed.itertuples()}


def write(timed, batch, out):
    "A row for the teacher and for each student"
    names = pd.MultiIndex.from_tuples(timed, names=['system', 'keep'])
    pd.DataFrame(timed.values(), index=names).assign(batch=batch).to_csv(out)


@call_parse
def main(
    teacher: str,
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
    models = {('teacher', 1.0): model} | students(model, rows)
    timed = latency(models, input_shape(model), batch, runs=runs, seconds=3600)
    write(timed, batch, out)
