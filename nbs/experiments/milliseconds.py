"""Latency budgets, and latency of the structures that other tables found. Needs a quiet machine.

python nbs/experiments/milliseconds.py TEACHER.json DATA --tables FILE.csv,FILE.csv --out nbs/results/ms_cifar
"""

import pandas as pd
from common import Table, from_text, load, numbers, to_text
from fastcore.script import Param, call_parse

import dcvit
from dcvit.images.config import data_config
from dcvit.images.images import few_shot
from dcvit.images.measure import latency, logits, top1
from dcvit.model.reading import read
from dcvit.model.surgery import prune
from dcvit.model.tracing import input_shape


class Clocked:
    "A teacher whose students are timed next to it"

    def __init__(self, teacher, data, seconds):
        self.model, self.source, self.x, self.labels = load(teacher, data)
        self.net = read(self.model)
        self.seconds = seconds

    def ratio(self, student, batch, seconds=None):
        models = dict(teacher=self.model, student=student)
        shape = input_shape(self.model)
        return latency(models, shape, batch, seconds=seconds or self.seconds)['student']

    def of_text(self, text):
        return prune(self.model, from_text(text), net=self.net)

    def top1(self, student):
        return top1(logits(student, self.x), self.labels)

    def as_slow(self, family, batch, wanted):
        "The MACs budget whose student takes `wanted` of the teacher's time, by bisection"
        low = 0.3
        high = 0.99
        tried = []
        for _ in range(6):
            keep = (low + high) / 2
            student = prune(self.model, family.structure(keep_macs=keep), net=self.net)
            got = self.ratio(student, batch)['ratio']
            tried.append((abs(got - wanted), keep))
            low, high = (keep, high) if got < wanted else (low, keep)
        return min(tried)[1]

    def compare(self, few, family, keep, batch, seed):
        "One row: a latency budget, and the MACs budget that is as slow"
        how = dict(recipe='closed-form', seed=seed, timing=False, progress=False)
        made = dcvit.compress(self.model, few.images, keep_latency=keep, latency_batch=batch, **how)
        got = self.ratio(made.model, batch)['ratio']
        same = self.as_slow(family, batch, got)
        other = dcvit.compress(self.model, few.images, keep_macs=same, **how)
        figures = made.report['latency_budget']
        unit = figures['measured_ms'] / figures['ratio']  # the teacher's ms
        return dict(
            measured=got,
            predicted=figures['predicted_ms'] / unit,
            table=figures['table_ms'] / unit,
            keep_macs=made.report['student']['keep_macs'],
            top1=self.top1(made.model),
            same_latency=self.ratio(other.model, batch)['ratio'],
            same_keep_macs=same,
            same_top1=self.top1(other.model),
            blocks=to_text(made.structure),
        )

    def compared(self, n, seed, keep, batches):
        "A row for each batch size, of one split"
        few = few_shot(self.source, data_config(self.model), n, seed)
        how = dict(budgets=(0.3, 0.95), seed=seed, progress=False)
        family = dcvit.family(self.model, few.images, **how)  # for structures only
        for batch in batches:
            row = self.compare(few, family, keep, batch, seed)
            yield dict(batch=batch, seed=seed, asked=keep, **row)


def time_rows(clocked, tables, n, out):
    "Latency of the first seed's structures in other tables"
    table = Table(f'{out}_rows.csv')
    for file in filter(None, tables.split(',')):
        for _, row in pd.read_csv(file).query('seed==0 and n==@n').iterrows():
            found = clocked.ratio(clocked.of_text(row.blocks), 64, 1.0)
            keys = dict(recipe=row.recipe, space=row.space, keep=row.keep)
            ratios = {k: found[k] for k in ('ratio', 'ratio_low', 'ratio_high')}
            table.add(**keys, **ratios, top1=row.top1)


def time_again(clocked, out):
    "The structures of OUT_budget.csv once more: how far timings of one student differ"
    rows = pd.read_csv(f'{out}_budget.csv')
    pairs = zip(rows.blocks, rows.batch, strict=True)
    rows['again'] = [clocked.ratio(clocked.of_text(text), batch)['ratio'] for text, batch in pairs]
    rows.to_csv(f'{out}_budget.csv', index=False)
    print(rows[['batch', 'seed', 'measured', 'again']])


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = None,
    tables: str = '',
    out: str = 'nbs/results/ms',
    n: int = 500,
    seeds: str = '0,1,2',  # of the latency budgets; '' leaves them out
    again: bool = False,  # time the structures of OUT_budget.csv once more
    keep: float = 0.7,
    batches: str = '64,1',
    seconds: float = 4,
):
    "Write OUT_rows.csv (latency of structures in the tables) and OUT_budget.csv (latency against MACs budgets)"
    clocked = Clocked(teacher, data, seconds)
    time_rows(clocked, tables, n, out)
    table = Table(f'{out}_budget.csv')
    for seed in numbers(seeds, int):
        for row in clocked.compared(n, seed, keep, numbers(batches, int)):
            table.add(**row)
    if again:
        time_again(clocked, out)
