"""Students outside: other formats compute the same, other environments open them, other people's training loops take
them."""

import inspect
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import mostly
from timm.optim import create_optimizer_v2, param_groups_layer_decay

import dcvit
from dcvit.base.errors import DcvitError
from dcvit.cli.main import run
from dcvit.images.config import data_config
from dcvit.model.budget import budget, uniform
from dcvit.model.reading import read
from dcvit.model.structure import Left, Structure, whole
from dcvit.model.surgery import prune
from dcvit.model.tracing import count_macs, input_shape
from dcvit.ship import standalone
from dcvit.ship.export import export_student
from dcvit.ship.folder import save_student
from dcvit.ship.formats import to_timm

cases = {
    'test_vit': {},
    'test_convnext': {},
    'test_resnet': {},
    'test_efficientnet': {},
    'pvt_v2_b0': dict(depths=(1, 1, 1, 1)),
    'eva02_tiny_patch14_224': dict(depth=2),
    'swin_tiny_patch4_window7_224': dict(
        depths=(2, 2), num_heads=(2, 4), embed_dim=32, img_size=56
    ),
}


def standalone_code():
    "What the page about loading without the package tells users to copy"
    return inspect.getsource(standalone)


def evenly(net):
    return uniform(net, budget(net, keep_macs=0.75))


def unevenly(net):
    s = uniform(net, budget(net, keep_macs=0.7))
    return s.set(0, Left(0, 40)).set(1, Left(2, 0)).set(2, Left(0, 0))


def without_one(net):
    return uniform(net, budget(net, keep_macs=0.7)).set(2, Left(0, 0))


def student_of(name, folder, structure=evenly, **args):
    "A pruned model with random weights that are nowhere zero, saved in `folder`"
    torch.manual_seed(0)
    model = timm.create_model(name, **args).eval().requires_grad_(False)
    for p in model.parameters():
        p.add_(0.02 * torch.randn_like(p))
    s = structure(read(model))
    student = prune(model, s)
    save_student(folder, student, s, dict(architecture=name, args=args), data_config(model))
    return student


def photos(model, n=9):
    return torch.randint(256, (n, *input_shape(model)), dtype=torch.uint8)


often = ('test_vit', 'test_efficientnet', 'swin_tiny_patch4_window7_224')


@pytest.mark.parametrize('name', mostly(cases, often))
def test_parity(name, tmp_path, fault):
    "ONNX and torch.export at any batch: logits within 1e-4, the same top-1; the export itself checks it"
    fault('a student in ONNX and torch.export', 'the same predictions, or an error')
    student = student_of(name, tmp_path / 's', **cases[name])
    found = export_student(tmp_path / 's', photos(student), ('onnx', 'program'))
    for kind in ('onnx', 'program'):
        assert found[kind]['relative'] <= 1e-4
        assert found[kind]['same_top1'] == 100
    assert json.loads((tmp_path / 's' / 'report.json').read_text())['exports'] == found


def test_fewer_pixels(tmp_path, fault):
    "A student that shrinks its images: costs, folder, plain loader and other formats"
    fault('a student that looks at fewer pixels, in ONNX and torch.export', 'the same predictions')

    def smaller(net):
        return replace(evenly(net), resolution=128)

    student = student_of('test_efficientnet', tmp_path / 's', smaller)
    x = torch.randn(2, *input_shape(student))
    assert (
        count_macs(student, x[:1]).get_total_flops()
        < 0.7 * count_macs(student_of('test_efficientnet', tmp_path / 't'), x[:1]).get_total_flops()
    )
    assert torch.equal(dcvit.load(tmp_path / 's')(x), student(x))
    torch.testing.assert_close(standalone.load_plain(tmp_path / 's')(x), student(x))
    found = export_student(tmp_path / 's', photos(student), ('onnx', 'program'))
    assert all(found[kind]['same_top1'] == 100 for kind in ('onnx', 'program'))
    with pytest.raises(DcvitError, match='sees fewer pixels'):
        to_timm(student, tmp_path / 'no')


def test_fewer_tokens(tmp_path, fault):
    "A student that merges tokens: folder, plain loader and other formats; what fits no model is refused"
    fault('a student that merges tokens, in ONNX and torch.export', 'the same predictions')

    def merging(net):
        return replace(unevenly(net), tokens=(90, 70, *[50] * (len(net) - 2)))

    student = student_of('test_vit', tmp_path / 's', merging)
    x = torch.randn(2, *input_shape(student))
    with torch.no_grad():
        assert torch.equal(dcvit.load(tmp_path / 's')(x), student(x))
    torch.testing.assert_close(standalone.load_plain(tmp_path / 's')(x), student(x))
    found = export_student(tmp_path / 's', photos(student), ('onnx', 'program'))
    for kind in ('onnx', 'program'):
        assert found[kind]['same_top1'] == 100
        assert found[kind]['relative'] <= 1e-4
    with pytest.raises(DcvitError, match='fewer pixels or tokens'):
        to_timm(student, tmp_path / 'no')


@pytest.mark.parametrize('tokens', ['all', 3, [], [90], [0] * 9, [90.5] * 9, [9**9] * 9, [1] * 9])
def test_tokens_of_a_tampered_folder(tmp_path, tokens, fault):
    fault('a student folder with tokens that do not fit', 'one sentence')
    student_of('test_vit', tmp_path / 's', unevenly)
    path = tmp_path / 's' / 'structure.json'
    description = json.loads(path.read_text())
    if isinstance(tokens, list) and len(tokens) == 9:
        tokens = tokens[:1] * len(description['blocks'])
    path.write_text(json.dumps(dict(description, tokens=tokens)))
    with pytest.raises(DcvitError, match='tokens'):
        dcvit.load(tmp_path / 's')


def narrow_heads(net):
    "Heads of other widths in every block that has several"
    lefts = (replace(left, widths=(9, 20)) if left.mixer else left for left in unevenly(net).blocks)
    return Structure(tuple(lefts))


def narrow_and_merging(net):
    return replace(narrow_heads(net), tokens=(90, 70, *[50] * (len(net) - 2)))


with_narrow_heads = (narrow_heads, narrow_and_merging)


@pytest.mark.parametrize('structure', mostly(with_narrow_heads, with_narrow_heads[1:]))
def test_narrow_heads(structure, tmp_path, fault):
    "A student with narrower heads, alone and with fewer tokens: folder, plain loader, other formats"
    fault('a student with narrower heads, in ONNX and torch.export', 'the same predictions')
    folder = tmp_path / 's'
    student = student_of('test_vit', folder, structure)
    x = torch.randn(2, *input_shape(student))
    with torch.no_grad():
        assert torch.equal(dcvit.load(folder)(x), student(x))
    torch.testing.assert_close(standalone.load_plain(folder)(x), student(x))
    found = export_student(folder, photos(student), ('onnx', 'program'))
    for kind in ('onnx', 'program'):
        assert found[kind]['same_top1'] == 100
        assert found[kind]['relative'] <= 1e-4
    with pytest.raises(DcvitError, match='narrower heads'):
        to_timm(student, tmp_path / 'no')


@pytest.mark.parametrize('widths', ['all', 3, [], [9], [9, 9, 9], [0, 9], [9, 9.5], [9, 9**9]])
def test_widths_of_a_tampered_folder(tmp_path, widths, fault):
    fault('a student folder with widths of heads that do not fit', 'one sentence')
    student_of('test_vit', tmp_path / 's', narrow_heads)
    path = tmp_path / 's' / 'structure.json'
    description = json.loads(path.read_text())
    for block in description['blocks']:
        block['widths'] = widths
    path.write_text(json.dumps(description))
    with pytest.raises(DcvitError, match='wide|widths|narrowed'):
        dcvit.load(tmp_path / 's')


without_dcvit = """
import sys
sys.modules['dcvit'] = None
{code}
assert sys.modules['dcvit'] is None
assert not any(name.startswith('dcvit.') for name in sys.modules)
torch.save(load_plain({folder!r})(torch.load({x!r})), {y!r})
"""


def test_without_dcvit(tmp_path):
    "The lines that the docs show, run where `import dcvit` fails, give the same outputs"
    student = student_of('test_vit', tmp_path / 's', unevenly)
    x = torch.randn(3, *input_shape(student))
    torch.save(x, tmp_path / 'x.pt')
    paths = dict(folder=str(tmp_path / 's'), x=str(tmp_path / 'x.pt'), y=str(tmp_path / 'y.pt'))
    code = without_dcvit.format(code=standalone_code(), **paths)
    python = [sys.executable, '-']
    done = subprocess.run(python, input=code, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.load(tmp_path / 'y.pt'), student(x), rtol=1e-5, atol=1e-5)


def test_timm_reads_it(tmp_path):
    "A student of equal blocks is a timm model; one of unequal blocks is refused"
    student = student_of('test_vit', tmp_path / 's', without_one)
    arch = to_timm(student, tmp_path / 'hub')
    again = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    x = torch.randn(2, *input_shape(student))
    torch.testing.assert_close(again(x), student(x))
    assert arch['args']['depth'] == len(again.blocks) == len(student.blocks) - 1
    mixed = student_of('test_vit', tmp_path / 't', lambda net: whole(net).set(0, Left(0, 9)))
    with pytest.raises(DcvitError, match='timm has no arguments'):
        to_timm(mixed, tmp_path / 'no')
    assert not (tmp_path / 'no').exists()


@pytest.mark.parametrize(
    'name', ['test_vit', 'test_convnext', 'test_resnet', 'swin_tiny_patch4_window7_224']
)
def test_fine_tuning(name, tmp_path):
    "A loaded student trains as a timm model does, with a new head, checkpointing and layer decay"
    student_of(name, tmp_path / 's', **cases[name])
    student = dcvit.load(tmp_path / 's')
    student.requires_grad_(True).train()
    student.reset_classifier(3)
    student.set_grad_checkpointing(True)
    groups = param_groups_layer_decay(student, weight_decay=0.05, layer_decay=0.7)
    grouped = {id(p) for group in groups for p in group['params']}
    assert grouped == {id(p) for p in student.parameters()}
    assert len({group['lr_scale'] for group in groups}) > 1
    losses = train(student, groups)
    assert losses[-1] < losses[0]
    for p in student.parameters():
        assert p.grad is not None
        assert p.grad.isfinite().all()
    # and what comes out of training can be used as before
    student.eval().set_grad_checkpointing(False)
    torch.export.export(student, (torch.randn(2, *input_shape(student)),))


def train(model, groups, steps=6):
    optimizer = create_optimizer_v2(groups, 'adamw', lr=2e-3)
    torch.manual_seed(0)
    x = torch.randn(12, *input_shape(model))
    y = torch.arange(12) % 3
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


refused = [
    ('export {tmp}/none', 'not a saved student'),
    ('export {tmp}/s --formats x', 'no format'),
    ('eval demo --latency --runtimes x', 'no runtime'),
    ('export {tmp}/s --formats timm', 'timm has no arguments'),
]


def test_command(cli, on_disk, tmp_path, capsys):
    "The command writes, checks and reports; bad words are one sentence"
    card, digits = on_disk
    folder = tmp_path / 's'
    words = ['--n', '30', '--recipe', 'closed-form', '--keep-macs', '.6', '--out', folder]
    assert cli('compress', card, digits, *words).returncode == 0
    done = cli('export', folder, digits, '--int8', '--n', '40')
    assert done.returncode == 0, done.stderr
    assert 'same top-1 on 100.00% of 40 images' in done.stdout
    written = {path.name for path in folder.iterdir()}
    assert {'model.onnx', 'model.int8.onnx', 'model.pt2'} <= written
    done = cli('eval', folder, digits, '--latency', '--runtimes', 'onnx', '--teacher', card)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('onnx') == 4
    for line, says in refused:
        assert run(line.format(tmp=tmp_path).split()) == 2
        assert says in capsys.readouterr().err
