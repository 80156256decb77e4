"What the experiments share: structures as text, what a script starts from, and the tables it writes"

import time
from itertools import product
from pathlib import Path

import pandas as pd

import dcvit
from dcvit.images.config import data_config, normalise
from dcvit.images.decode import image_files
from dcvit.images.demo import demo_data
from dcvit.images.images import few_shot, labelled
from dcvit.images.measure import top1
from dcvit.model.structure import Left, Structure

# structures as text: `3:192 0:76` is three heads and 192 neurons, then no mixer and 76 neurons;
# `3x16/24:192` are heads that compare along 16 dimensions and pass on 24; at the end stands what is seen,
# `tokens=65,33` after each block or `pixels=28`; a form that another system gave the blocks is not said


def _block_to_text(left):
    inside = '' if left.widths is None else 'x{}/{}'.format(*left.widths)
    return f'{left.mixer}{inside}:{left.mlp}'


def _seen_to_text(structure):
    if structure.tokens:
        yield 'tokens=' + ','.join(map(str, structure.tokens))
    if structure.resolution:
        yield f'pixels={structure.resolution}'


def to_text(structure):
    return ' '.join([*map(_block_to_text, structure.blocks), *_seen_to_text(structure)])


def _block_from_text(text):
    mixer, mlp = text.split(':')
    heads, _, inside = mixer.partition('x')
    widths = tuple(int(n) for n in inside.split('/')) if inside else None
    return Left(int(heads), int(mlp), widths)


def _seen_from_text(words):
    seen = dict(word.split('=') for word in words)
    tokens = tuple(numbers(seen.get('tokens', ''), int)) or None
    resolution = int(seen['pixels']) if 'pixels' in seen else None
    return dict(tokens=tokens, resolution=resolution)


def from_text(text):
    words = text.split()
    blocks = tuple(_block_from_text(word) for word in words if '=' not in word)
    return Structure(blocks, **_seen_from_text(word for word in words if '=' in word))


# what a script starts from


def numbers(words, kind=float):
    "Numbers separated by commas"
    return [kind(word) for word in words.split(',') if word]


def load(teacher, data):
    "`(teacher, few-shot source, normalised test images, labels)`; without `data` the built-in digits"
    model = dcvit.load_teacher(teacher).requires_grad_(False)
    cfg = data_config(model)
    if data is None:
        digits = demo_data()
        return model, digits['train'], normalise(digits['test'], cfg), digits['test_y']
    pixels, labels = labelled(f'{data}/test', cfg, model.num_classes)
    return model, image_files(f'{data}/train'), normalise(pixels, cfg), labels


def few_shot_sets(table, source, cfg, n, seeds, keeps, **keys):
    "`(few-shot set, keys of a row)` for these numbers of images, seeds and budgets, as words; those the table lacks"
    for count, seed in product(numbers(n, int), numbers(seeds, int)):
        few = few_shot(source, cfg, count, seed)
        for keep in numbers(keeps):
            row = dict(**keys, n=count, seed=seed, keep=keep)
            if not table.has(**row):
                yield few, row


def timed(call):
    "`(result, seconds)`"
    start = time.time()
    made = call()
    return made, time.time() - start


def measured(made, judge, labels):
    "What a student costs and how close it is to the teacher on the test images, for a row of a table"
    cost = made.report['student']
    found = next(iter(made.report['fidelity'].values()))
    return dict(
        reached=cost['keep_macs'],
        params=cost['params'],
        **judge.scores(made.model, labels),
        top1_teacher=top1(judge.expected, labels),
        agreement_before=found['agreement_before'],
        blocks=to_text(made.structure),
    )


class Table:
    "Rows of a CSV file, appended one by one; a row that is there is not made again"

    def __init__(self, path):
        self.path = Path(path)
        self.rows = pd.read_csv(path) if self.path.exists() else pd.DataFrame()

    def has(self, **keys):
        if not len(self.rows):
            return False
        same = pd.Series(True, self.rows.index)
        for key, value in keys.items():
            same &= self.rows[key] == value
        return bool(same.any())

    def add(self, **row):
        self.rows = pd.concat([self.rows, pd.DataFrame([row])])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows.to_csv(self.path, index=False)
        short = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
        print({k: v for k, v in short.items() if k != 'blocks'}, flush=True)
