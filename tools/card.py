"""Draw the picture that links to the site are shown with: nbs/assets/card.png, from the tables of results.

python tools/card.py
"""

import matplotlib.pyplot as plt
import pandas as pd
from nb import nbs

blue, grey = '#4C72B0', '#888888'


def main():
    "Accuracy against MACs, and what this is"
    rows = pd.read_csv(nbs / 'results' / 'real.csv').query('teacher == "vits14_c10_112"')
    lines = rows.groupby(['recipe', 'keep']).agg(top1=('top1', 'mean')).reset_index()
    teacher = rows.top1_teacher.mean()
    figure, ax = plt.subplots(figsize=(12, 6.3), dpi=100)
    figure.subplots_adjust(left=0.52, right=0.95, top=0.88, bottom=0.16)
    for recipe, colour, label in (('closed-form', blue, 'dcvit'), ('units', grey, 'all tokens')):
        line = lines[lines.recipe == recipe].sort_values('keep')
        ax.plot([*line.keep, 1], [*line.top1, teacher], 'o-', lw=3, ms=9, color=colour, label=label)
    ax.set(xlabel='MACs, fraction of the teacher', ylabel='top-1, %')
    ax.spines[['top', 'right']].set_visible(False)
    ax.legend(frameon=False, fontsize=14)
    figure.text(0.05, 0.72, 'dcvit', fontsize=54, weight='bold', color=blue)
    about = 'Compress trained vision\nmodels with a handful of\nunlabeled images'
    figure.text(0.05, 0.4, about, fontsize=24, linespacing=1.5)
    figure.text(0.05, 0.18, 'ViT-S/14, 200 images, no gradient', fontsize=14, color=grey)
    figure.savefig(nbs / 'assets' / 'card.png')


if __name__ == '__main__':
    main()
