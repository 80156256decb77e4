"""The whole pipeline: seeds, budgets, the command line."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from conftest import compress, equal, mostly
from limits import growth
from PIL import Image

import dcvit
from dcvit import PaperRecipe, SearchRecipe
from dcvit.base.files import write_tensors
from dcvit.base.runfolder import RunFolder
from dcvit.images.config import data_config, normalise
from dcvit.images.images import few_shot, labelled
from dcvit.images.run import Run
from dcvit.model.reading import read
from dcvit.model.structure import whole as whole_of
from dcvit.model.tracing import input_shape
from dcvit.recipes import get_recipe
from dcvit.search.fewer import Fewer
from dcvit.search.latency import latency_budget

tiny = PaperRecipe(
    trial_length=4, step_length=4, metric_iters=20, metric_warmup=2, unit='step', lr=3e-4
)
recipes = {
    'paper': tiny,
    'oneshot': replace(tiny, mode='oneshot'),
    'blocks': replace(tiny, space='blocks'),
    'uniform': SearchRecipe(space='uniform', step_length=4),
    'search': SearchRecipe(step_length=4),
}


@pytest.mark.parametrize('name', mostly(recipes, ('search',)))
def test_two_runs_with_one_seed_are_identical(teacher, digits, name):
    def run(seed):
        return compress(
            teacher, digits['train'], n=20, keep_macs=0.6, recipe=recipes[name], seed=seed
        )

    a, b, c = run(1), run(1), run(2)
    assert equal(a.model.state_dict(), b.model.state_dict())
    assert not equal(a.model.state_dict(), c.model.state_dict())
    assert a.report['trials'] == b.report['trials']
    assert bool(a.report['trials']) == (name in ('paper', 'oneshot', 'blocks'))


def test_a_search_in_half_precision_finds_as_good_a_student(demo, digits, monkeypatch):
    test = normalise(digits['test'], data_config(demo)), digits['test_y']

    def found(half):
        monkeypatch.setattr('dcvit.images.run.multiplies_bfloat16', lambda device: half)
        how = dict(n=50, keep_macs=0.4, recipe='closed-form', labelled=test)
        made = compress(demo, digits['train'], **how)
        return made.report['fidelity']['labelled']

    whole, half = found(False), found(True)
    assert whole != half  # it was another search
    assert half['agreement'] > 97
    assert half['agreement'] > whole['agreement'] - 1


@pytest.mark.parametrize('recipe', ['closed-form', 'fast'])
@pytest.mark.parametrize('keep', mostly((0.8, 0.5, 0.2), (0.5,)))
def test_recovery_helps_where_it_was_not_trained(demo, digits, recipe, keep):
    test = normalise(digits['test'], data_config(demo)), digits['test_y']
    made = compress(demo, digits['train'], n=100, keep_macs=keep, recipe=recipe, labelled=test)
    found = made.report['fidelity']['labelled']
    assert found['kl'] <= found['kl_before']
    assert found['agreement'] >= found['agreement_before'] - 0.2
    assert abs(made.report['budget']['reached'] - keep) <= 0.005
    assert found['agreement'] > (99 if keep >= 0.5 else 60)


def test_a_refit_brings_a_student_closer_where_there_is_something_to_gain(demo, digits):
    test = normalise(digits['test'], data_config(demo)), digits['test_y']
    how = dict(n=100, keep_macs=0.2, recipe='closed-form', labelled=test)
    found = compress(demo, digits['train'], **how).report['fidelity']['labelled']
    assert found['kl_before'] > 1e-4
    assert found['kl'] < found['kl_before']


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='needs Linux')
def test_photographs_are_decoded_one_at_a_time(tmp_path):
    photograph = tmp_path / 'a' / 'large.ppm'
    photograph.parent.mkdir()
    Image.new('RGB', (2000, 1500), 'gray').save(photograph)
    cfg = data_config(timm.create_model('vit_tiny_patch16_224', depth=1))
    for i in range(29):
        (photograph.parent / f'{i}.ppm').symlink_to(photograph)
    for reader in (few_shot, labelled):
        assert growth(partial(reader, tmp_path, cfg)) < 130e6  # of 270 MB that they have decoded


def _all_patches_alike():
    "A ViT that knows no positions, and images of one color each"
    torch.manual_seed(0)
    model = timm.create_model('vit_tiny_patch16_224', depth=4, img_size=96, num_classes=10).eval()
    model.pos_embed.data.zero_()
    return model, torch.randint(256, (20, 3, 1, 1), dtype=torch.uint8).expand(-1, -1, 96, 96)


def test_tokens_are_merged(tmp_path):
    "Where all patches say the same they merge; the student goes through every stage, folder and file"
    model, images = _all_patches_alike()
    recipe = SearchRecipe(step_length=2, views=2)
    made = compress(model, images, keep_macs=0.5, recipe=recipe, run_dir=tmp_path / 'run')
    tokens = made.report['tokens']
    assert len(tokens) == 4 and tokens[-1] < 37
    assert abs(made.report['budget']['reached'] - 0.5) <= 0.01
    names = [name for name, _ in made.report['search']['tried']]
    assert any('tokens, merged' in name for name in names)
    x = torch.randn(3, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(dcvit.load(made.save(tmp_path / 'out'))(x), made.model(x))
    plain = compress(model, images, keep_macs=0.5, recipe=replace(recipe, fewer=False))
    assert 'tokens' not in plain.report


def test_nothing_is_merged_where_nothing_is_lost():
    "A student that sees everything and loses nothing is not compared with one that sees less"
    model, images = _all_patches_alike()
    search = compress(model, images, keep_macs=0.97, recipe='closed-form').report['search']
    assert min(loss for _, loss in search['tried']) < 1e-4
    assert not any('tokens, merged' in name for name, _ in search['tried'])


@pytest.mark.parametrize('batch', mostly((1, 16), (16,)))
def test_latency_budget(teacher, digits, batch, few_turns):
    "What is reported is what was measured; how near it comes is a benchmark's matter"
    how = dict(keep_latency=0.8, latency_batch=batch, recipe='closed-form')
    report = compress(teacher, digits['train'], n=30, **how).report
    ms = report['latency_budget']
    assert ms['batch'] == batch and ms['measured_ms'] > 0 and ms['predicted_ms'] > 0
    assert report['student']['macs'] <= report['teacher']['macs']


@pytest.mark.parametrize(
    'name', mostly(('vit_tiny_patch16_224', 'resnet18'), ('vit_tiny_patch16_224',))
)
def test_prices_of_seeing_less_stay_with_a_run(name, tmp_path, few_turns):
    "A second run of the folder measures nothing again, and prices what sees less as the first one did"
    small = dict(img_size=96, depth=3) if name.startswith('vit') else {}
    model = timm.create_model(name, **small).eval().requires_grad_(False)
    few = few_shot(torch.rand(4, *input_shape(model)), data_config(model))
    net = read(model)
    run = Run(teacher=model, net=net, few=few, folder=RunFolder(tmp_path / 'run'))
    found = [latency_budget(run, keep_latency=0.6, batch=2) for _ in range(2)]
    first, again = (b.prices for b in found)
    fewer = Fewer(model, net, found[0])
    start = whole_of(net)
    for ladder in fewer.ladders:
        seen = ladder.at(len(ladder.rungs) // 2, start)
        assert first.total(seen) == pytest.approx(again.total(seen))
        assert first.total(seen) != first.total(start)
    assert fewer.ladders


def test_synthetic_images(teacher):
    recipe = replace(get_recipe('closed-form'), metric_iters=20)
    made = compress(teacher, 'synthetic', n=20, keep_macs=0.6, recipe=recipe)
    assert made.report['few_shot']['images'] == 20


def test_family_whose_tokens_merge(tmp_path, few_turns):
    "Budgets in MACs and milliseconds, with and without a folder in between"
    args = dict(img_size=96, depth=3)
    model = timm.create_model('vit_tiny_patch16_224', **args).eval().requires_grad_(False)
    how = dict(
        budgets=(0.4, 0.9), calibration=2, arch=dict(architecture='vit_tiny_patch16_224', args=args)
    )
    made = dcvit.family(model, torch.rand(6, 3, 96, 96), progress=False, **how)
    assert all(0 <= anchor['merged'] <= 1 for anchor in made.anchors.values())
    made.anchors = {share: dict(anchor, merged=0.5) for share, anchor in made.anchors.items()}
    again = dcvit.load_family(made.save(tmp_path / 'family'))
    prices = made.milliseconds(2)
    found = [whole_of(made.net), replace(made.structure(keep_macs=0.4), tokens=None)]
    target = sum(map(prices.total, found)) / 2
    assert prices.total(made.structure(max_latency=target, batch=2)) <= target * 1.001
    structure = again.structure(keep_macs=0.6)
    assert structure == made.structure(keep_macs=0.6) and structure.tokens[-1] < 37
    assert made.cost(structure).macs <= 0.6 * made.net.total.macs
    result = again.result(keep_macs=0.6)
    assert result.report['student']['macs'] == made.cost(structure).macs
    loaded = dcvit.load(result.save(tmp_path / 'student'))
    x = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(loaded(x), result.model(x))


def test_family_command(cli, on_disk, tmp_path):
    card, digits = on_disk
    family, student = tmp_path / 'f', tmp_path / 's'
    done = cli('family', card, digits, '--n', 30, '--budgets', '.4,.9', '--out', family)
    assert done.returncode == 0, done.stderr
    done = cli('at', family, '--keep-macs', 0.55, '--out', student)
    assert done.returncode == 0, done.stderr
    done = cli('eval', student, digits, '--teacher', card)
    assert done.returncode == 0 and 'agreement' in done.stdout, done.stderr
    done = cli('at', student, '--keep-macs', 0.55)
    assert done.returncode == 2 and 'is not a family' in done.stderr


@pytest.mark.thorough
def test_demo_command(installed, cli, tmp_path):
    done = installed('demo', '--keep_macs', '.6', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ('asked 0.600', 'hidden sizes', 'top-1', 'latency', 'saved', 'the same logits'):
        assert words in done.stdout
    assert (tmp_path / 'out' / 'demo' / 'report.png').stat().st_size > 10_000
    done = cli('eval', tmp_path / 'out' / 'demo', '--teacher', 'demo')
    assert done.returncode == 0 and 'agreement' in done.stdout


def test_metric_set_file(teacher, digits, tmp_path):
    file = tmp_path / 's.safetensors'
    write_tensors(file, dict(images=torch.randn(5, 1, 8, 8)))
    made = compress(teacher, digits['train'], n=10, keep_macs=0.7, recipe=tiny, metric_set=file)
    assert made.report['fidelity']['metric_set']['images'] == 5
