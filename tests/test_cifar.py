"""The CIFAR-10 teacher and files as a user has them. They do not come with the project: without them these tests are skipped."""
import json, tarfile

import pytest, torch
import dcvit
from conftest import shared
from dcvit.data import data_config, few_shot, image_files
from dcvit.inversion import invert

card,archive = shared/'teachers'/'vit_c10_d128.json', shared/'data'/'cifar10.tar.xz'
pytestmark = pytest.mark.skipif(not (card.exists() and archive.exists()), reason='the CIFAR-10 teacher and images are not on this machine')

@pytest.fixture(scope='module')
def images(tmp_path_factory):
    "The first 40 images of each class of the test set, in class folders"
    d = tmp_path_factory.mktemp('cifar')
    with tarfile.open(archive) as t:
        for m in t:
            if m.name.startswith('test/') and m.isfile() and int(m.name[-8:-4])%1000<40: t.extract(m, d, filter='data')
    return d/'test'

def test_teacher_is_as_good_as_it_says(images):
    from dcvit.data import labelled, normalise
    from dcvit.measure import logits, top1
    m = dcvit.load_teacher(str(card)); px,y = labelled(images, data_config(m), 10)
    assert len(y)>=300 and abs(top1(logits(m, normalise(px, data_config(m))), y)-json.loads(card.read_text())['top1_test'])<6

def test_metric_set_is_what_the_teacher_was_asked_for():
    m = dcvit.load_teacher(str(card))
    s = invert(m, data_config(m), n=20, iters=60, warmup=5, progress=False)
    with torch.no_grad(): assert (m(s.images).argmax(1)==s.targets).float().mean()>=.95

def test_command_line(images, cli, tmp_path):
    p = cli('compress', card, images, '--n', 20, '--keep_macs', .834, '--set', 'step_length=2', '--out', tmp_path/'s')
    assert p.returncode==0, p.stderr
    rep = json.loads((tmp_path/'s'/'report.json').read_text())
    assert abs(rep['budget']['reached']-.834)<=.005
    assert cli('eval', tmp_path/'s', images).returncode==0
