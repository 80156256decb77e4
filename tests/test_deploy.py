"""Students outside: other formats compute the same, other environments open them, other people's training loops take them."""
import json, subprocess, sys
from pathlib import Path

import pytest, timm, torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2, param_groups_layer_decay
import dcvit
from dcvit import deploy, export, standalone
from dcvit.blocks import DcvitError, input_shape, read
from dcvit.cli import run
from dcvit.data import data_config
from dcvit.structure import Left, budget, uniform, whole
from dcvit.surgery import prune

cases = {'test_vit': {}, 'test_convnext': {}, 'test_resnet': {}, 'test_efficientnet': {}, 'pvt_v2_b0': dict(depths=(1,1,1,1)), 'eva02_tiny_patch14_224': dict(depth=2),
    'swin_tiny_patch4_window7_224': dict(depths=(2,2), num_heads=(2,4), embed_dim=32, img_size=56)}

def student_of(name, folder, at=lambda net: uniform(net, budget(net, keep_macs=.75)), **args):
    "A pruned model with random weights that are nowhere zero, saved in `folder`"
    torch.manual_seed(0)
    m = timm.create_model(name, **args).eval().requires_grad_(False)
    for p in m.parameters(): p.add_(.02*torch.randn_like(p))
    s = at(read(m)); student = prune(m, s)
    export.save(folder, student, s, dict(architecture=name, args=args), data_config(m))
    return student

def photos(model, n=9): return torch.randint(256, (n, *input_shape(model)), dtype=torch.uint8)

@pytest.mark.parametrize('name', cases)
def test_parity(name, tmp_path):
    "ONNX and torch.export, any batch: logits within 1e-4, the same top-1; checked by the command itself"
    student = student_of(name, tmp_path, **cases[name])
    res = deploy.ship(tmp_path, photos(student), ('onnx','program'))
    assert all(res[k]['relative']<=1e-4 and res[k]['same_top1']==100 for k in ('onnx','program'))
    assert json.loads((tmp_path/'report.json').read_text())['exports']==res

def test_without_dcvit(tmp_path):
    "The lines that the docs show, run where `import dcvit` fails, give the same outputs"
    def at(net): return uniform(net, budget(net, keep_macs=.7)).set(0, Left(0,40)).set(1, Left(2,0)).set(2, Left(0,0))
    student = student_of('test_vit', tmp_path/'s', at); x = torch.randn(3, *input_shape(student))
    torch.save(x, tmp_path/'x.pt')
    code = f"import sys; sys.modules['dcvit'] = None\n{Path(standalone.__file__).read_text()}\nassert sys.modules['dcvit'] is None and not any(m.startswith('dcvit.') for m in sys.modules)\ntorch.save(load({str(tmp_path/'s')!r})(torch.load({str(tmp_path/'x.pt')!r})), {str(tmp_path/'y.pt')!r})"
    r = subprocess.run([sys.executable, '-'], input=code, capture_output=True, text=True, cwd=tmp_path)
    assert r.returncode==0, r.stderr
    torch.testing.assert_close(torch.load(tmp_path/'y.pt'), student(x), rtol=1e-5, atol=1e-5)

def test_timm_reads_it(tmp_path):
    "A student of equal blocks is a timm model; one of unequal blocks is refused"
    student = student_of('test_vit', tmp_path/'s', lambda net: uniform(net, budget(net, keep_macs=.7)).set(2, Left(0,0)))
    arch = deploy.to_timm(student, tmp_path/'hub')
    again = timm.create_model(f"local-dir:{tmp_path/'hub'}", pretrained=True).eval()
    x = torch.randn(2, *input_shape(student))
    torch.testing.assert_close(again(x), student(x)); assert arch['args']['depth']==len(again.blocks)==len(student.blocks)-1
    mixed = student_of('test_vit', tmp_path/'t', lambda net: whole(net).set(0, Left(0,9)))
    with pytest.raises(DcvitError, match='timm has no arguments'): deploy.to_timm(mixed, tmp_path/'no')
    assert not (tmp_path/'no').exists()

@pytest.mark.parametrize('name', ['test_vit','test_convnext','test_resnet','swin_tiny_patch4_window7_224'])
def test_fine_tuning(name, tmp_path):
    "A loaded student trains as a timm model does: new head, checkpointed blocks, layer decay groups; the loss falls and gradients reach every parameter"
    student_of(name, tmp_path, **cases[name]); student = dcvit.load(tmp_path)
    student.requires_grad_(True).train(); student.reset_classifier(3); student.set_grad_checkpointing(True)
    groups = param_groups_layer_decay(student, weight_decay=.05, layer_decay=.7)
    assert {id(p) for g in groups for p in g['params']}=={id(p) for p in student.parameters()} and len({g['lr_scale'] for g in groups})>1
    opt = create_optimizer_v2(groups, 'adamw', lr=2e-3)
    torch.manual_seed(0); x,y = torch.randn(12, *input_shape(student)), torch.arange(12)%3; losses = []
    for _ in range(6):
        loss = F.cross_entropy(student(x), y); opt.zero_grad(); loss.backward(); opt.step(); losses.append(loss.item())
    assert losses[-1]<losses[0] and all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
    # and what comes out of training can be used as before
    student.eval().set_grad_checkpointing(False)
    torch.export.export(student, (x[:2],))

def test_command(cli, tmp_path, capsys):
    "The command writes, checks and reports; bad words are one sentence"
    assert cli('compress','demo','--recipe','closed-form','--keep-macs','.6','--out',tmp_path/'s').returncode==0
    r = cli('export', tmp_path/'s', '--int8', '--n', '40')
    assert r.returncode==0 and 'same top-1 on 100.00% of 40 images' in r.stdout, r.stderr
    assert {'model.onnx','model.int8.onnx','model.pt2'} <= {p.name for p in (tmp_path/'s').iterdir()}
    r = cli('eval', tmp_path/'s', '--latency', '--runtimes', 'eager,onnx', '--teacher', 'demo')
    assert r.returncode==0 and r.stdout.count('onnx')==4, r.stderr
    for words,says in ((['export', tmp_path/'none'], 'not a saved student'), (['export', tmp_path/'s', '--formats', 'x'], 'no format'), (['eval', 'demo', '--latency', '--runtimes', 'x'], 'no runtime'), (['export', tmp_path/'s', '--formats', 'timm'], 'timm has no arguments')):
        assert run([*map(str, words)])==2; assert says in capsys.readouterr().err
