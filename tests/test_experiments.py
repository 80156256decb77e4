"The scripts behind the tables, on images that are at hand"

import sys

import pandas as pd
import pytest
import timm
import torch
from conftest import experiments
from PIL import Image

from dcvit.base.errors import DcvitError
from dcvit.model.structure import Left, Structure

sys.path.append(str(experiments))


@pytest.fixture(scope='module')
def folder(digits, tmp_path_factory):
    "Digits as files, one folder per class"
    root = tmp_path_factory.mktemp('digits')
    for i, (pixels, label) in enumerate(zip(digits['test'][:200], digits['test_y'])):
        place = root / str(int(label))
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels[0].numpy()).save(place / f'{i}.png')
    return root


def test_real_models(folder, tmp_path):
    "A row for each recipe, and none twice"
    import real

    table = tmp_path / 'real.csv'
    how = dict(n=60, tests=100, recipes='blocks,closed-form', keeps='.5', threads=1)
    for _ in range(2):
        real.main('demo', str(folder), **how, out=str(table))
    rows = pd.read_csv(table).set_index('recipe')
    assert [*rows.index] == ['blocks', 'closed-form']
    assert (rows.reached <= 0.5005).all() and (rows.top1_teacher > 90).all()
    assert rows.kl['closed-form'] < rows.kl['blocks']


def test_predictions_on_a_dozen(folder, tmp_path):
    "Six images at random and six others, on which the student is further from the teacher"
    import predictions

    table = tmp_path / 'predictions.csv'
    predictions.main('demo', str(folder), n=60, tests=100, keeps='.3', threads=1, out=str(table))
    rows = pd.read_csv(table)
    assert rows.photograph.nunique() == 12 and len(rows) == 24
    teacher = rows[rows.model == 'teacher']
    assert (teacher.probability == teacher.of_teachers_class).all()
    student = rows[rows.model != 'teacher'].groupby('picked').of_teachers_class.mean()
    assert student['furthest'] < student['at random']
    assert predictions.class_name('n01484850_great_white_shark.jpg') == 'great white shark'


def test_gains_of_gradient_steps(folder, tmp_path):
    "Steps are taken and kept, so that their gain is seen on images that do not check"
    import gains_real

    table = tmp_path / 'gains.csv'
    how = dict(n=60, tests=100, keeps='.2', threads=1)
    gains_real.main('demo', str(folder), **how, out=str(table))
    (row,) = pd.read_csv(table).itertuples()
    assert row.check_after != row.check_before and row.kl_after != row.kl_before
    assert 0 < row.kl_after < 2 * row.kl_before


def test_other_systems(tmp_path):
    "Rows of two systems from one bench, a run folder for each, and the columns that the tables share"
    import others

    bench = others.Bench('demo', None, tmp_path / 'others.csv', tmp_path / 'runs')
    for system in ('closed-form', 's2vite from scratch'):
        keys = dict(system=system, n=20, seed=0, length=3, keep=0.5)
        bench.add(others.recipe_of(system, 3, 'none'), keys)
        assert bench.table.has(**keys)
    rows = pd.read_csv(tmp_path / 'others.csv').set_index('system')
    assert rows.agreement['closed-form'] > rows.agreement['s2vite from scratch']
    assert (rows.reached <= 0.5005).all() and rows.blocks.str.count(':').eq(12).all()
    assert len([*(tmp_path / 'runs').iterdir()]) == 2


def test_other_systems_on_a_real_model(folder, tmp_path):
    "One row for each system, of students on the same split"
    import others_real

    how = dict(n=40, tests=60, systems='closed-form,corp', keeps='.5', threads=1)
    others_real.main('demo', str(folder), **how, out=str(tmp_path / 'others.csv'))
    rows = pd.read_csv(tmp_path / 'others.csv').set_index('system')
    assert (rows.reached <= 0.5005).all() and rows.top1_teacher.nunique() == 1
    assert rows.kl['closed-form'] < rows.kl['corp']


def test_metric_sets_of_large_models_are_short():
    import others_real

    recipe = others_real.recipe_for('whole blocks', 7)
    assert (recipe.metric_iters, recipe.trial_length, recipe.space) == (100, 7, 'blocks')


def test_kinds_of_images(folder, tmp_path):
    "Every kind of images judges a student that was made with some of each"
    import targets

    for part in ('train', 'test'):
        (tmp_path / part).symlink_to(folder)
    bench = targets.Bench('demo', str(tmp_path), str(folder), 30, tmp_path / 'targets.csv')
    assert len(bench.judges['photographs'].expected) == 30
    assert len(bench.images('mixed', 25, 0)) == 25
    bench.add(dict(source='mixed', n=25, seed=0, keep=0.5, recipe='closed-form'))
    rows = pd.read_csv(tmp_path / 'targets.csv').set_index('target')
    assert {*rows.index} == {'own', 'photographs', 'shapes', 'clouds', 'noise'}
    assert rows.agreement['own'] > 80


def test_classes_from_names(folder, tmp_path):
    import real

    assert real.class_of('n01440764_tench.jpg') == 'n01440764'
    found = real.labelled_files(folder, 10)
    assert len(found) == 200 and {*found.values()} == {*range(10)}
    with pytest.raises(DcvitError, match='10 classes, the model 1000'):
        real.labelled_files(folder, 1000)


def test_weights_under_other_names(tmp_path):
    import real

    model = timm.create_model('test_efficientnet').eval()
    weights = {f'other.{i}': t for i, t in enumerate(model.state_dict().values())}
    torch.save(weights, tmp_path / 'w.pth')
    same = real.weights_in_order('test_efficientnet', tmp_path / 'w.pth')
    x = torch.randn(2, 3, 160, 160)
    assert torch.equal(same(x), model(x))
    with pytest.raises(DcvitError, match='do not have the shapes'):
        real.weights_in_order('test_resnet', tmp_path / 'w.pth')


@pytest.mark.parametrize('seen', [{}, dict(tokens=(17, 12)), dict(resolution=28)])
def test_structures_as_text(seen):
    "What a table says of a structure is all that it takes to make it again"
    from common import from_text, to_text

    structure = Structure((Left(3, 192), Left(2, 0, (8, 12))), **seen)
    assert from_text(to_text(structure)) == structure


def test_latency_of_structures_in_a_table(tmp_path):
    "The teacher and every student once, those of `fast` as those of `closed-form`"
    import latency

    rows = pd.DataFrame(dict(system=['closed-form', 'fast', 'whole blocks'], length=[0, 0, 200]))
    merging = '3:192 ' * 12 + 'tokens=' + ','.join(['17'] * 3 + ['12'] * 9)
    rows['blocks'] = [merging, merging, '3:192 ' * 6 + '0:0 ' * 6]
    rows['reached'] = [0.79684, 0.79684, 0.5003]
    table = tmp_path / 'others.csv'
    rows.assign(n=50, seed=0, keep=0.5).to_csv(table, index=False)
    latency.main('demo', str(table), str(tmp_path / 'latency.csv'), batch=64, runs=20)
    timed = pd.read_csv(tmp_path / 'latency.csv').set_index('system')
    assert [*timed.index] == ['teacher', 'closed-form', 'whole blocks']
    assert (timed.runs == 20).all()
    rows['blocks'] = '3:192 ' * 12  # as a row without its tokens would have it
    rows.assign(n=50, seed=0, keep=0.5).to_csv(table, index=False)
    with pytest.raises(DcvitError, match='does not say how closed-form is made'):
        latency.main('demo', str(table), str(tmp_path / 'latency.csv'))
