"""Latency as the paper measures it: batches of 64, 500 calls, the teacher and its students in turns.

The structures are those of a table of `others.py`. Needs a quiet machine.

python nbs/experiments/latency.py nbs/experiments/teachers/vit.json
"""

import pandas as pd
from common import from_text
from fastcore.script import call_parse

import dcvit
from dcvit.images.measure import latency
from dcvit.model.reading import read
from dcvit.model.surgery import prune
from dcvit.model.tracing import input_shape


def students(model, rows):
    "`{(system, keep): student}`; `fast` has the structures of `closed-form`"
    net = read(model)
    timed = rows[rows.system != 'fast']
    return {
        (r.system, r.keep): prune(model, from_text(r.blocks), net=net) for r in timed.itertuples()
    }


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
