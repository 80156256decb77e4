"""Every row of the error table, from Python and from the command line: one sentence, status 2, before any training."""
import json, shutil

import numpy as np, pytest, torch
from PIL import Image
from safetensors.torch import save_file

import dcvit
from dcvit.blocks import DcvitError
from dcvit.data import data_config
from dcvit.structure import compressed
from dcvit.blocks import read
from dcvit.surgery import prune
from dcvit import export

def sentence(p, *words):
    assert p.returncode==2, (p.returncode, p.stderr)
    assert 'Traceback' not in p.stderr and p.stderr.strip().startswith('dcvit:') and len(p.stderr.strip().splitlines())==1, p.stderr
    for w in words: assert w in p.stderr, p.stderr

@pytest.fixture(scope='module')
def images(tmp_path_factory):
    d = tmp_path_factory.mktemp('images')
    for i in range(4): Image.fromarray(np.full((8,8), 40*i, np.uint8)).save(d/f'{i}.png')
    return d

@pytest.fixture(scope='module')
def student(tmp_path_factory, teacher):
    s = compressed(read(teacher), [3], .5)
    return export.save(tmp_path_factory.mktemp('s')/'student', prune(teacher, s), s, export.describe(teacher), data_config(teacher))

cases = [
    (['compress','no_such_model','{images}','--keep-macs','.5'], 'not a timm model'),
    (['compress','vit_bas_patch16_224','{images}','--keep-macs','.5'], 'did you mean vit_base_patch16_224'),
    (['info','vgg11'], 'VGG is not supported: none of its blocks is known'),
    (['compress','demo','{images}','--keep-macs','.0001'], 'out of reach; structures of this model reach'),
    (['compress','demo','{images}','--keep-macs','.05','--recipe','paper'], 'out of reach; these structures reach'),
    (['compress','demo','{images}','--keep-latency','1.5'], 'below 1'),
    (['compress','demo','{images}','--keep-latency','.5','--recipe','paper'], 'need a recipe that searches'),
    (['compress','demo','{images}','--keep-latency','.5','--keep-macs','.5'], 'name one budget'),
    (['family','demo','{images}','--budgets','.4'], '--budgets takes two numbers'),
    (['family','demo','{images}','--budgets','.9,.4'], 'from the lower to the higher'),
    (['at','{empty}','--keep-macs','.5'], 'is not a family'),
    (['compress','demo','{images}','--keep-macs','-1'], 'positive number'),
    (['compress','demo','{images}'], 'name one budget'),
    (['compress','demo','{images}','--keep-macs','.5','--n','50'], '50 images asked, 4 found'),
    (['compress','demo','{tmp}/nothing','--keep-macs','.5'], 'no such folder'),
    (['compress','demo','{empty}','--keep-macs','.5'], 'no images in this folder'),
    (['compress','demo','{broken}','--keep-macs','.5'], 'cut.png: not an image that can be decoded'),
    (['compress','demo','{images}','--keep-macs','.5','--recipe','slow'], 'no recipe named'),
    (['compress','demo','{images}','--keep-macs','.5','--set','speed=9'], 'no such number in a recipe'),
    (['compress','demo','{images}','--keep-macs','.5','--set','lr=fast'], 'expected float'),
    (['compress','demo','{images}','--keep-macs','.5','--device','tpu9'], 'not a device'),
    (['compress','demo','{images}','--keep-macs','.5','--out','{images}'], 'not empty and not a student'),
    (['compress','demo','{images}','--keep-macs','.5','--run-dir','/proc/none'], 'cannot use'),
    (['compress','{nan}','{images}','--keep-macs','.5'], 'non-finite weights: first in blocks.4.mlp.fc1.weight'),
    (['compress','{images}/0.json','{images}','--keep-macs','.5'], 'cannot read'),
    (['compress','test_vit','{images}','--keep-macs','.5','--args','{{'], '--args must be JSON'),
    (['compress','demo','{images}','--keep-macs','.5','--mean','a'], '--mean'),
    (['compress','demo','{images}','--keep-macs','.5','--set','space=paper,mode=progressive','--metric-set','{images}/0.png'], 'not a safetensors file'),
    (['eval','{empty}'], 'is not a saved student'),
    (['eval','{newer}'], 'upgrade dcvit'),
    (['eval','{pickle}'], 'not a safetensors file'),
    (['eval','{student}','{images}'], 'class folders'),
    (['frobnicate'], 'no command'),
    (['compress','demo','--keep-macs','half'], 'invalid float value'),
    (['compress','demo','--keep-mac','.5','--faster'], 'unrecognized arguments'),
]

@pytest.fixture(scope='module')
def places(tmp_path_factory, images, student, teacher):
    tmp = tmp_path_factory.mktemp('places')
    p = dict(images=images, tmp=tmp, student=student)
    for n in ('empty','broken'): p[n] = tmp/n; p[n].mkdir()
    (p['broken']/'cut.png').write_bytes((images/'0.png').read_bytes()[:40])
    bad = {k: v.clone() for k,v in teacher.state_dict().items()}; bad['blocks.4.mlp.fc1.weight'][0,0] = float('nan')
    save_file(bad, tmp/'nan.safetensors'); (tmp/'nan.json').write_text(json.dumps(dict(export.describe(teacher), mean=[.3], std=[.4])))
    p['nan'] = tmp/'nan.json'
    for n in ('newer','pickle'): p[n] = tmp/n; shutil.copytree(student, p[n])
    j = json.loads((student/'structure.json').read_text()); (p['newer']/'structure.json').write_text(json.dumps(dict(j, format=99)))
    torch.save(teacher.state_dict(), p['pickle']/'model.safetensors')
    return p

@pytest.mark.parametrize('args,words', cases, ids=lambda v: ' '.join(v) if isinstance(v, list) else None)
def test_command_line(args, words, places, capsys, tmp_path, monkeypatch):
    "In this process, for speed; the subprocess is tested below"
    from dcvit.cli import run
    monkeypatch.chdir(tmp_path)
    status = run([a.format(**places) for a in args])
    err = capsys.readouterr().err
    assert status==2 and words in err and len(err.strip().splitlines())==1, err
    assert not (tmp_path/'student').exists()

def test_subprocess(cli, images, tmp_path):
    sentence(cli('compress','demo',images,'--keep-macs',.0001, cwd=tmp_path), 'out of reach')
    sentence(cli('info','vgg11'), 'VGG')
    assert cli('--help').returncode==0 and cli().returncode==2

def test_offline_weights(cli, images, tmp_path):
    "Where the hub cannot be reached, the sentence says what to do instead"
    import os
    sentence(cli('compress','vit_tiny_patch16_224',images,'--keep-macs','.5', cwd=tmp_path, env=dict(os.environ, HF_HUB_OFFLINE='1')), '--checkpoint')

def test_python(teacher, digits):
    fails = lambda words,*a,**k: pytest.raises(DcvitError, match=words)
    for words,args,kw in [
        ('takes .n, 1, height, width.', (teacher, torch.zeros(4,3,8,8)), dict(keep_macs=.5)),
        ('floats from 0 to 1', (teacher, torch.randn(4,1,8,8)), dict(keep_macs=.5)),
        ('no images given', (teacher, []), dict(keep_macs=.5)),
        ('cannot make an image of a int', (teacher, [1,2]), dict(keep_macs=.5)),
        ('expected a timm model', ('vit', digits['train']), dict(keep_macs=.5)),
        ('name one budget', (teacher, digits['train']), dict(keep_macs=.5, keep_params=.5)),
        ("count must be", (teacher, digits['train']), dict(keep_macs=.5, count='some')),
    ]:
        with fails(words): dcvit.compress(*args, **kw, progress=False)

def test_no_space(tmp_path, teacher):
    "A full disk is a sentence and leaves no partial file"
    if not shutil.which('mount'): pytest.skip('no mount')
    import subprocess
    d = tmp_path/'small'; d.mkdir()
    if subprocess.run(['mount','-t','tmpfs','-o','size=64k','tmpfs',d], capture_output=True).returncode: pytest.skip('mounting a small tmpfs is not allowed here')
    try:
        s = compressed(read(teacher), [3], .5)
        with pytest.raises(DcvitError, match='No space left'): export.save(d/'student', prune(teacher, s), s, export.describe(teacher), data_config(teacher))
        assert [p.name for p in (d/'student').iterdir()]==[]
    finally: subprocess.run(['umount', d])
