"The scripts behind the tables, on images that are at hand"

import sys

import pandas as pd
import pytest
import timm
import torch
from conftest import experiments
from PIL import Image

from dcvit.base.errors import DcvitError

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
