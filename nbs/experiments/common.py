"What the experiments write and the notebooks read: names of methods, structures as text, scores, tables and figures of results"
from pathlib import Path
import pandas as pd
from dcvit.measure import agreement, kl, top1
from dcvit.structure import Left, Structure

folder = Path(__file__).resolve().parent.parent/'results'
methods = {('fast','search'): 'fast', ('closed-form','search'): 'closed-form', ('closed-form','uniform'): 'uniform', ('paper','blocks'): 'whole blocks', ('paper','paper'): 'paper'} # of (recipe, space)
order = list(methods.values())
colors = dict(zip(order, ('C2','C3','C4','C1','C0')))
grid = [.9,.75,.6,.5,.4] # fractions of the teacher's MACs that every method is asked for

def to_text(structure): return ' '.join(f'{l.heads}:{l.hidden}' for l in structure.blocks)
def from_text(text): return Structure(tuple(Left(*map(int, t.split(':'))) for t in text.split()))

def finished(out):
    "Rows that an earlier run wrote, which are not run again"
    return pd.read_csv(out) if Path(out).exists() else pd.DataFrame()

def scores(teacher_logits, student_logits, y): return dict(top1=top1(student_logits, y), agreement=agreement(teacher_logits, student_logits), kl=kl(teacher_logits, student_logits))

def results(*names):
    "Rows of results/NAME.csv with real images, with the method's name and the points of top-1 lost"
    df = pd.concat([pd.read_csv(folder/f'{n}.csv') for n in names])
    if 'images' in df: df = df[df.images.fillna('real')=='real']
    return df.assign(method=[methods[k] for k in zip(df.recipe, df.space)], **(dict(lost=df.top1_teacher-df.top1) if 'top1_teacher' in df else {}))

def cell(v): return f'{v.mean():.2f} ± {v.std():.2f}' if len(v)>1 else f'{v.mean():.2f}'

def seed_table(df, *by, value='top1', rows='method', order=order):
    "A value of every method (or other rows) at every budget, mean and standard deviation over seeds"
    t = df.groupby([*by,rows,'keep'], sort=False)[value].agg(cell).unstack('keep').fillna('')
    return t[sorted(t, reverse=True)].reindex(order, level=rows)

def by_macs(ax, df, title=''):
    "Top-1 against MACs, one line for each method; bars: standard deviation over seeds"
    for m in order:
        s = df[df.method==m].groupby('keep').agg(x=('reached','mean'), y=('top1','mean'), sd=('top1','std')).sort_values('x')
        if len(s): ax.errorbar(s.x*100, s.y, yerr=s.sd.fillna(0), fmt='o-', color=colors[m], label=m, capsize=3, ms=4)
    ax.axhline(df.top1_teacher.iloc[0], ls='--', color='0.5', lw=1); ax.set(title=title, xlabel="MACs, % of the teacher's")

def by_clock(ax, name, title=''):
    "Top-1 against latency at batch 64, one line for each method"
    df = results(f'ms_{name}_rows')
    for m in order:
        s = df[(df.method==m)&df.keep.isin(grid)].sort_values('ratio')
        if len(s): ax.plot(s.ratio*100, s.top1, 'o-', color=colors[m], label=m, ms=4)
    ax.set(title=title, xlabel="latency, % of the teacher's")
