"What the pages share: results by name, and how they are drawn"

from pathlib import Path

import pandas as pd

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


def _with_lost(rows):
    "Rows with the points of top-1 lost, where there are labels"
    return rows.assign(lost=rows.top1_teacher - rows.top1) if 'top1_teacher' in rows else rows


def results(*names):
    "Rows of results/NAME.csv with real images, with the method's name and the points of top-1 lost"
    rows = pd.concat([pd.read_csv(folder / f'{name}.csv') for name in names])
    if 'images' in rows:
        rows = rows[rows.images.fillna('real') == 'real']
    pairs = zip(rows.recipe, rows.space, strict=True)
    return _with_lost(rows.assign(method=[methods[pair] for pair in pairs]))


real_teachers = dict(
    vits14_c10_112='ViT-S/14',
    vit='small ViT',
    tf_efficientnet_lite0='EfficientNet-Lite0',
    tf_efficientnet_lite1='EfficientNet-Lite1',
    tf_efficientnet_lite2='EfficientNet-Lite2',
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
    named = dict(model=rows.teacher.map(real_teachers), method=rows.recipe.map(real_methods))
    return _with_lost(rows.assign(**named))


def other_systems(part='', of='digits'):
    "Rows of results/others_OF.csv; of the paper's run, also its 'trials', and 'losses' of the longest"
    name = f'others_{of}_{part}' if part else f'others_{of}'
    return _with_lost(pd.read_csv(folder / f'{name}.csv'))


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
