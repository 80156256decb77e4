"""The CIFAR-10 teacher on image files as a user has them. The images do not come with the project: without them these
tests are skipped."""

import json
import tarfile

import pytest
import torch
from conftest import experiments, shared

import dcvit
from dcvit.images.config import data_config, normalise
from dcvit.images.images import labelled
from dcvit.images.measure import logits, top1
from dcvit.paper.invert import InversionNumbers, invert

card = experiments / 'teachers' / 'vit.json'
archive = shared / 'data' / 'cifar10.tar.xz'
needs_images = pytest.mark.skipif(
    not archive.exists(), reason='the CIFAR-10 images are not on this machine'
)


def is_wanted(member):
    "The first 40 images of each class of the test set"
    if not (member.name.startswith('test/') and member.isfile()):
        return False
    return int(member.name[-8:-4]) % 1000 < 40


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    "A few test images in class folders"
    folder = tmp_path_factory.mktemp('cifar')
    with tarfile.open(archive) as files:
        for member in filter(is_wanted, files):
            files.extract(member, folder, filter='data')
    return folder / 'test'


@needs_images
def test_teacher_is_as_good_as_it_says(images):
    model = dcvit.load_teacher(str(card))
    cfg = data_config(model)
    pixels, labels = labelled(images, cfg, 10)
    measured = top1(logits(model, normalise(pixels, cfg)), labels)
    assert len(labels) >= 300
    assert abs(measured - json.loads(card.read_text())['top1_test']) < 6


def test_metric_set_is_what_the_teacher_was_asked_for():
    model = dcvit.load_teacher(str(card))
    numbers = InversionNumbers(metric_images=10, metric_iters=60, metric_warmup=5)
    made = invert(model, data_config(model), numbers, progress=False)
    with torch.no_grad():
        found = model(made.images).argmax(1)
    assert (found == made.targets).float().mean() >= 0.95


@needs_images
def test_command_line(images, cli, tmp_path):
    words = ['--n', 20, '--keep_macs', 0.834, '--set', 'step_length=2', '--out', tmp_path / 's']
    done = cli('compress', card, images, *words)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / 's' / 'report.json').read_text())
    assert abs(report['budget']['reached'] - 0.834) <= 0.005
    assert cli('eval', tmp_path / 's', images).returncode == 0
