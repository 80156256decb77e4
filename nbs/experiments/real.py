"""Real pretrained models: what is lost at several budgets, next to leaving out blocks without any recovery.

TEACHER is a JSON file that names a timm model (see `dcvit.load_teacher`), or the name of a timm model; WEIGHTS are
local ones. IMAGES has one folder per class, or photographs whose names begin with an ImageNet id
(n01440764_tench.jpg), at least one of each of the 1000 classes. A part of them compresses, another part tests.
The recipe `units` is `closed-form` that leaves out heads, neurons and blocks, and nothing else.

python nbs/experiments/real.py tf_efficientnet_lite0 IMAGES --weights FILE.pth --n 500 --tests 500
python nbs/experiments/real.py TEACHER.json IMAGES --n 200 --tests 600 --recipes closed-form --keeps .75,.5
python nbs/experiments/real.py nbs/experiments/teachers/vit.json IMAGES --recipes closed-form,units --keeps .5,.4,.3
python nbs/experiments/real.py deit_small_patch16_224 IMAGES        # downloads timm's weights, where that is possible
"""

import random
import re
import tempfile
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import torch
from common import Table, numbers, to_text
from fastcore.script import Param, call_parse
from safetensors.torch import load_file

import dcvit
from dcvit.base.errors import DcvitError
from dcvit.images.config import data_config
from dcvit.images.decode import image_files
from dcvit.images.images import few_shot
from dcvit.images.measure import Judge
from dcvit.images.splits import Batches
from dcvit.model.budget import budget
from dcvit.model.reading import read
from dcvit.recipes import get_recipe
from dcvit.search.assemble import assemble
from dcvit.search.dropping import drop_blocks
from dcvit.search.recovery import temper

imagenet_id = re.compile(r'(n\d{8})')


def weights_in_order(name, path):
    "A timm model with the tensors of a file that has them in the same order under other names"
    import timm

    model = timm.create_model(name)
    theirs = torch.load(path, map_location='cpu', weights_only=True).values()
    own = model.state_dict()
    if [t.shape for t in theirs] != [t.shape for t in own.values()]:
        raise DcvitError(f'the tensors of {path} do not have the shapes of {name}, in order')
    model.load_state_dict(dict(zip(own, theirs, strict=True)))
    return model.eval().requires_grad_(False)


def teacher_of(name, weights):
    "A timm model: with local weights in its order, or as `dcvit.load_teacher` finds it"
    return weights_in_order(name, weights) if weights else dcvit.load_teacher(name)


def class_of(path):
    "What tells the class of an image: the ImageNet id in its name, or its folder"
    found = imagenet_id.match(Path(path).name)
    return found[1] if found else Path(path).parent.name


def labelled_files(folder, classes):
    "`{path: class index}`; raises `DcvitError` where the names do not tell"
    paths = [str(path) for path in image_files(folder)]
    names = sorted({class_of(path) for path in paths})
    if len(names) != classes:
        needs = (
            'one folder per class, or names that begin with an ImageNet id, with every class there'
        )
        raise DcvitError(
            f'{folder} has {len(names)} classes, the model {classes}; it needs {needs}'
        )
    return {path: names.index(class_of(path)) for path in paths}


def of_largest_batch(latencies):
    "What was measured for the largest batch"
    return latencies[max(latencies, key=int)]


def figures(made):
    "What a report says that the table wants"
    report = made.report
    check = report['fidelity']['check']
    return dict(
        reached=report['budget']['reached'],
        passes=report['passes'],
        memory=max(m['process'] for m in report['memory'].values()),
        check_kl=check['kl'],
        check_agreement=check['agreement'],
        latency=of_largest_batch(report['latency'])['student']['ratio'],
        pixels=made.structure.resolution or '',
        tokens=made.structure.tokens[-1] if made.structure.tokens else '',
        blocks=to_text(made.structure),
    )


def before_gradients(report):
    "What a run of `fast` had taken in front of its gradient stage"
    seconds = sum(report['seconds'].values()) - report['seconds']['mimic']
    memory = max(m['process'] for name, m in report['memory'].items() if name != 'mimic')
    passes = round(seconds / report['pass_seconds'], 1)
    return dict(seconds=seconds, passes=passes, memory=memory)


def split(files, n, tests, seed):
    "`(few-shot files, test files)`, drawn at random"
    paths = sorted(files)
    random.Random(seed).shuffle(paths)
    return paths[:n], paths[n : n + tests]


class Bench:
    "A teacher and one split of the images"

    def __init__(self, model, files, n, tests, seed, arch=None):
        self.model = model
        self.arch = arch
        self.seed = seed
        self.few, self.tests = split(files, n, tests, seed)
        self.labels = torch.tensor([files[path] for path in self.tests])
        few = few_shot(self.tests, data_config(model))
        self.judge = Judge(model, Batches(few))
        self.top1 = self.judge.scores(model, self.labels)['top1']

    def scores(self, student):
        found = self.judge.scores(student, self.labels)
        return dict(top1_teacher=self.top1, **found)

    def compressed(self, recipe, keep, run_dir=None):
        "A student"
        return dcvit.compress(
            self.model,
            self.few,
            keep_macs=keep,
            recipe=recipe,
            seed=self.seed,
            arch=self.arch,
            run_dir=run_dir,
        )

    def row(self, made):
        "What the table says about one student"
        seconds = sum(made.report['seconds'].values())
        return dict(seconds=seconds, **figures(made), **self.scores(made.model))

    def row_before_gradients(self, made, run_dir):
        "The same in front of the gradient stage of `fast`, which is what `closed-form` hands back"
        student = deepcopy(made.model)
        student.load_state_dict(load_file(Path(run_dir) / 'steps' / 'refit.safetensors'))
        few = few_shot(self.few, data_config(self.model))
        choose = Judge(self.model, Batches(few, few.splits.choose))
        judge = Judge(self.model, Batches(few, few.splits.check))
        temper(student, choose, judge)
        check = judge.scores(student)
        own = dict(check_kl=check['kl'], check_agreement=check['agreement'])
        own |= before_gradients(made.report)
        return {**figures(made), **own, **self.scores(student)}

    def without_blocks(self, keep):
        "Blocks left out one by one on 100 of the few-shot images, no recovery"
        net = read(self.model)
        few = few_shot(self.few[:100], data_config(self.model))
        b = budget(net, keep_macs=keep)
        last = drop_blocks(self.model, net, b, Judge(self.model, Batches(few)))[-1].structure
        student = assemble(self.model, net, last, {})
        return dict(
            reached=float(b.prices.total(last) / b.teacher),
            blocks=to_text(last),
            **self.scores(student),
        )


def benches(teacher, images, weights, n, tests):
    "A function that gives the bench of a seed, and keeps the last one"
    model = teacher_of(teacher, weights)
    arch = dict(architecture=teacher, args={}) if weights else None
    files = labelled_files(images, model.num_classes)

    @lru_cache(maxsize=1)
    def bench(seed):
        return Bench(model, files, n, tests, seed, arch)

    return bench


def fill(table, keys, bench, recipe):
    "The rows of one recipe; `fast` gives those of `closed-form` too"
    keep = keys['keep']
    if recipe == 'blocks':
        table.add(**keys, recipe=recipe, **bench.without_blocks(keep))
    elif recipe == 'fast':
        with tempfile.TemporaryDirectory() as run_dir:
            made = bench.compressed(recipe, keep, run_dir)
            table.add(**keys, recipe=recipe, **bench.row(made))
            if not table.has(**keys, recipe='closed-form'):
                row = bench.row_before_gradients(made, run_dir)
                table.add(**keys, recipe='closed-form', **row)
    else:
        asked = recipe
        if recipe == 'units':
            asked = replace(get_recipe('closed-form'), fewer=False, widths=False)
        table.add(**keys, recipe=recipe, **bench.row(bench.compressed(asked, keep)))


@call_parse
def main(
    teacher: str,
    images: str,
    weights: Param('local weights, in the order of the timm model', str) = None,
    n: int = 500,
    tests: int = 500,
    recipes: str = 'blocks,fast',
    keeps: str = '.9,.75,.6',
    seeds: str = '0',
    out: str = 'nbs/results/real.csv',
    threads: int = 2,
):
    "One row for each split, recipe and budget; rows that are there are not made again"
    torch.set_num_threads(threads)
    bench, table = benches(teacher, images, weights, n, tests), Table(out)
    asked = product(numbers(seeds, int), numbers(keeps), recipes.split(','))
    for seed, keep, recipe in asked:
        keys = dict(teacher=Path(teacher).stem, n=n, keep=keep, seed=seed)
        if not table.has(**keys, recipe=recipe):
            fill(table, keys, bench(seed), recipe)
