"What the experiments write and the pages read: methods by name, structures as text, tables and figures of results"

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

folder = Path(__file__).resolve().parent.parent / 'results'
methods = {  # of (recipe, space)
    ('fast', 'search'): 'fast',
    ('closed-form', 'search'): 'closed-form',
    ('closed-form', 'uniform'): 'uniform',
    ('paper', 'blocks'): 'whole blocks',
    ('paper', 'paper'): 'paper',
}
order = list(methods.values())
colors = dict(zip(order, ('C2', 'C3', 'C4', 'C1', 'C0'), strict=True))
grid = [0.9, 0.75, 0.6, 0.5, 0.4]  # fractions of the teacher's MACs that every method is asked for


# structures as text: `3:192 0:76` is three heads and 192 neurons, then no mixer and 76 neurons;
# `3x16/24:192` are heads that compare along 16 dimensions and pass on 24


def _block_to_text(left):
    inside = '' if left.widths is None else 'x{}/{}'.format(*left.widths)
    return f'{left.mixer}{inside}:{left.mlp}'


def to_text(structure):
    return ' '.join(map(_block_to_text, structure.blocks))


def _block_from_text(text):
    mixer, mlp = text.split(':')
    heads, _, inside = mixer.partition('x')
    widths = tuple(int(n) for n in inside.split('/')) if inside else None
    return Left(int(heads), int(mlp), widths)


def from_text(text):
    return Structure(tuple(_block_from_text(block) for block in text.split()))


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


# what the pages show


def results(*names):
    "Rows of results/NAME.csv with real images, with the method's name and the points of top-1 lost"
    rows = pd.concat([pd.read_csv(folder / f'{name}.csv') for name in names])
    if 'images' in rows:
        rows = rows[rows.images.fillna('real') == 'real']
    pairs = zip(rows.recipe, rows.space, strict=True)
    rows = rows.assign(method=[methods[pair] for pair in pairs])
    if 'top1_teacher' in rows:
        rows = rows.assign(lost=rows.top1_teacher - rows.top1)
    return rows


real_teachers = dict(
    vits14_c10_112='ViT-S/14',
    vit='small ViT',
    tf_efficientnet_lite0='EfficientNet-Lite0',
)
real_methods = {
    'closed-form': 'closed-form',
    'fast': 'fast',
    'units': 'heads and neurons only',
    'blocks': 'blocks left out',
}
real_colors = {name: colors[name] for name in ('closed-form', 'fast')}
real_colors |= {'heads and neurons only': '0.6', 'blocks left out': colors['whole blocks']}


def real_models(name='real'):
    "Rows of results/NAME.csv, with names of model and method, and the points of top-1 lost"
    rows = pd.read_csv(folder / f'{name}.csv')
    return rows.assign(
        model=rows.teacher.map(real_teachers),
        method=rows.recipe.map(real_methods),
        lost=rows.top1_teacher - rows.top1,
    )


def other_systems(part='', of='digits'):
    "Rows of results/others_OF.csv; of the paper's run, also its 'trials', and 'losses' of the longest"
    name = f'others_{of}_{part}' if part else f'others_{of}'
    return pd.read_csv(folder / f'{name}.csv')


system_colors = {  # one for each, on all pages
    **{name: colors[name] for name in ('closed-form', 'fast', 'paper', 'whole blocks')},
    'practise': '#000000',
    'vtp': 'C5',
    's2vite': 'C6',
    'autoformer': 'C8',
    'evit': 'C9',
    'spvit': '#7f7f7f',
    'mini-deit': '#b5a300',
    'mir': '#005f73',
    'fskd': '#bc5090',
    'cd': '#6a994e',
    's2vite from scratch': '#bbbbbb',
    'tome': '#8338ec',
    'corp': '#fb8500',
    'snapvit': '#3a5a40',
    'random': '#999999',
    'torch-pruning, magnitude': '#2a9d8f',
    'torch-pruning, taylor': '#9b2226',
}


def draw_systems(ax, rows, value):
    "A value of every system against MACs"
    for system, color in system_colors.items():
        some = rows[rows.system == system]
        if len(some):
            _line(ax, some, value, system, color)


def mean_and_deviation(values):
    "Mean and standard deviation in a table cell"
    if len(values) == 1:
        return f'{values.mean():.2f}'
    return f'{values.mean():.2f} ± {values.std():.2f}'


def seed_table(rows, *by, value='top1', index='method', names=order):
    "A value of every method (or other index) at every budget, mean and standard deviation over seeds"
    groups = rows.groupby([*by, index, 'keep'], sort=False)[value]
    table = groups.agg(mean_and_deviation).unstack('keep').fillna('')
    return table[sorted(table, reverse=True)].reindex(names, level=index)


def _line(ax, rows, value, label, color):
    "A value of one method against MACs; bars: standard deviation over seeds"
    columns = dict(x=('reached', 'mean'), y=(value, 'mean'), sd=(value, 'std'))
    s = rows.groupby('keep').agg(**columns).sort_values('x')
    ax.errorbar(
        s.x * 100, s.y, yerr=s.sd.fillna(0), fmt='o-', capsize=3, ms=4, color=color, label=label
    )
    ax.set(xlabel="MACs, % of the teacher's")


def by_macs(ax, rows, title=''):
    "Top-1 against MACs, one line for each method"
    for method in order:
        some = rows[rows.method == method]
        if len(some):
            _line(ax, some, 'top1', method, colors[method])
    ax.axhline(rows.top1_teacher.iloc[0], ls='--', color='0.5', lw=1)
    ax.set(title=title)


def lost_by_macs(ax, rows, title=''):
    "Points of top-1 lost against MACs, one line for each method"
    for method, some in rows.groupby('method', sort=False):
        _line(ax, some, 'lost', method, real_colors[method])
    ax.axhline(0, ls='--', color='0.5', lw=1)
    ax.set(title=title, ylabel='points of top-1 lost')
    ax.invert_yaxis()
    ax.legend(frameon=False, loc='lower right')


def by_clock(ax, name, title=''):
    "Top-1 against latency at batch 64, one line for each method"
    rows = results(f'ms_{name}_rows')
    for method in order:
        s = rows[(rows.method == method) & rows.keep.isin(grid)].sort_values('ratio')
        if len(s):
            ax.plot(s.ratio * 100, s.top1, 'o-', color=colors[method], label=method, ms=4)
    ax.set(title=title, xlabel="latency, % of the teacher's")
