"""Every supported family, on random weights: costs to the last MAC, silenced mixers, saving, torch.export.

`pytest tests/test_families.py --full` takes one model of every family of the support table; without the flag, small
ones of each kind."""

import csv
from dataclasses import replace

import pytest
import timm
import torch
from conftest import experiments

import dcvit
from dcvit.base.errors import DcvitError
from dcvit.images.config import data_config
from dcvit.model.reading import read
from dcvit.model.structure import Left, Structure, cost, whole
from dcvit.model.surgery import prune
from dcvit.model.tracing import input_shape, trace
from dcvit.ship.folder import save_student
from dcvit.ship.standalone import load_plain

small = {
    'test_vit': {},
    'test_vit3': {},
    'test_convnext': {},
    'test_resnet': {},
    'test_efficientnet': {},
    'test_coatnet': {},
    'beit_base_patch16_224': dict(embed_dim=64, num_heads=2, depth=2),
    'eva02_tiny_patch14_224': dict(depth=2),
    'cait_xxs24_224': dict(depth=2),
    'convit_tiny': dict(depth=2),
    'xcit_nano_12_p8_224': dict(depth=2),
    'mixer_s32_224': {},
    'resmlp_12_224': {},
    'pvt_v2_b0': dict(depths=(1, 1, 1, 1)),
    'swin_tiny_patch4_window7_224': dict(
        depths=(2, 2), num_heads=(2, 4), embed_dim=32, img_size=56
    ),
    'swinv2_tiny_window8_256': dict(depths=(2, 2), num_heads=(2, 4), embed_dim=32, img_size=64),
    'poolformerv2_s12': {},
    'caformer_s18': {},
    'hiera_tiny_224': dict(stages=(1, 1, 1, 1)),
    'vit_relpos_small_patch16_224': dict(depth=2),
    'regnety_002': {},
    'mobilenetv2_050': {},
    'mobilenetv3_small_050': {},
    'resnet50': dict(layers=(1, 1, 1, 1)),
    'resnet34': dict(layers=(2, 1, 1, 1)),
    'resnetv2_18': {},
    'efficientnet_b0': {},
    'levit_128s': {},
    'efficientformer_l1': {},
    'vit_base_patch16_siglip_224': dict(depth=2, embed_dim=64, num_heads=2),
    'deit_tiny_distilled_patch16_224': dict(depth=2),
    'deit3_small_patch16_224': dict(depth=2),
    'vit_tiny_patch16_224': dict(depth=2, num_classes=0),
    'vit_base_patch14_reg4_dinov2': dict(depth=2, embed_dim=64, num_heads=2, img_size=56),
    'vit_srelpos_small_patch16_224': dict(depth=2),
    'convnextv2_atto': {},
    'focalnet_tiny_srf': {},
    'visformer_tiny': {},
}

table = experiments.parent / 'results' / 'support.csv'


def full():
    with open(table) as file:
        return {row['model']: {} for row in csv.DictReader(file) if row['supported'] == 'True'}


def pytest_generate_tests(metafunc):
    if 'case' in metafunc.fixturenames:
        cases = full() if metafunc.config.getoption('--full') else small
        metafunc.parametrize('case', cases.items(), ids=lambda c: c[0])


def counted(model):
    "MACs and parameters, by the counter"
    macs, _ = trace(model)
    return macs[''][0], sum(p.numel() for p in model.parameters())


def thin_block(block, q):
    if block.mixer.units and block.mixer.optional and block.index % 2:
        mixer = 0
    else:
        mixer = max(int(block.mixer.units > 0), round(block.mixer.units * q))
    return Left(mixer, max(1, round(block.mlp.units * q)))


def thin(net, q):
    "Every width times `q`, every other mixer gone where that is possible"
    return Structure(tuple(thin_block(b, q) for b in net.blocks))


def at_budget(net, q):
    "Widths for a share of the MACs, by bisection"
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if cost(net, thin(net, middle)).macs <= q * net.total.macs:
            low = middle
        else:
            high = middle
    return thin(net, low)


def everywhere_nonzero(model):
    "No scale or weight that starts at zero may hide an error"
    for p in model.parameters():
        p.add_(0.05 * torch.randn_like(p))


def last_of_mixer(model, block):
    "The module of a block whose output the mixer adds to the stream"
    module, spec = model.get_submodule(block.name), block.spec
    own = [n for n in spec.mixer if n not in spec.mlp]
    found = [n for n in own if isinstance(getattr(module, n, None), torch.nn.Module)]
    return getattr(module, found[-1])


def silenced(model, blocks, x):
    "What the model says with the mixers of `blocks` multiplied by zero"

    def zero(module, args, y):
        return torch.zeros_like(y)

    hooks = [last_of_mixer(model, b).register_forward_hook(zero) for b in blocks]
    y = model(x)
    for hook in hooks:
        hook.remove()
    return y


@pytest.fixture
def family(case):
    "`(model, net, images, timm arguments)` of a case"
    name, args = case
    torch.manual_seed(0)
    model = timm.create_model(name, **args).eval().requires_grad_(False)
    net = read(model)
    x = torch.randn(2, *input_shape(model))
    everywhere_nonzero(model)
    return model, net, x, dict(architecture=name, args=args)


def check_costs(model, net, structure):
    student = prune(model, structure, net=net)
    c = cost(net, structure)
    assert counted(student) == (c.macs, c.params)
    return student


def check_silenced(model, net, x):
    "With r_d = 0 the student is the teacher with its mixers silenced"
    bare = [b for b in net.blocks if b.mixer.units and b.mixer.optional]
    if not bare:
        return
    s = whole(net)
    for b in bare:
        s = s.set(b.index, Left(0, b.mlp.units))
    silent = silenced(model, bare, x)
    torch.testing.assert_close(prune(model, s, net=net)(x), silent, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(silent, model(x))


def check_copies(student, structure, arch, x, folder):
    "Saved and loaded, exported, and read by plain timm: the same outputs"
    save_student(folder, student, structure, arch, data_config(student))
    loaded = dcvit.load(folder).requires_grad_(
        False
    )  # gradients change the last bits of some kernels
    assert torch.equal(loaded(x), student(x))
    exported = torch.export.export(student, (x,)).module()
    for other in (exported, load_plain(folder)):
        torch.testing.assert_close(other(x), student(x), rtol=1e-4, atol=1e-5)


def test_family(family, tmp_path):
    model, net, x, arch = family
    assert (net.total.macs, net.total.params) == counted(model)
    s = at_budget(net, 0.75)
    student = check_costs(model, net, s)
    assert student(x).isfinite().all()
    gone = whole(net)
    for b in net.blocks:
        if b.droppable:
            gone = gone.set(b.index, Left(0, 0))
    check_costs(model, net, gone)
    check_silenced(model, net, x)
    check_copies(student, s, arch, x, tmp_path / 's')


@pytest.mark.parametrize(
    'name', ['vgg11', 'densenet121', 'inception_v3', 'tnt_s_legacy_patch16_224', 'ghostnet_050']
)
def test_refused_with_a_sentence(name):
    with pytest.raises(DcvitError, match='is not supported'):
        read(timm.create_model(name))


swin = dict(depths=(2, 2), num_heads=(2, 4), embed_dim=32, img_size=56)
shortest = dcvit.PaperRecipe(
    space='blocks',
    unit='step',
    trial_length=1,
    step_length=1,
    augment='none',
    metric_images=4,
    metric_iters=2,
    candidates='all',
)
quietly = dict(timing=False, progress=False)


@pytest.mark.parametrize('recipe', ['closed-form', shortest], ids=['search', 'paper'])
@pytest.mark.parametrize(
    'name,args',
    [
        ('swin_tiny_patch4_window7_224', swin),
        ('test_resnet', {}),
        ('test_convnext', {}),
        ('vit_tiny_patch16_224', dict(depth=3, num_classes=0, img_size=32)),
    ],
)
def test_compress_runs_unchanged(name, args, recipe):
    "The same call for a hierarchical transformer, a CNN, and a backbone without a head"
    torch.manual_seed(0)
    model = timm.create_model(name, **args).eval()
    shape = input_shape(model)
    few = torch.rand(12, *shape)
    arch = dict(architecture=name, args=args)
    made = dcvit.compress(model, few, keep_macs=0.7, recipe=recipe, arch=arch, **quietly)
    assert all(found['kl'] >= 0 for found in made.report['fidelity'].values())
    assert made.model(torch.randn(2, *shape)).isfinite().all()
    if recipe == 'closed-form':
        # less is left only where that loses nothing, as with tiny layer scales
        reached, free = made.report['budget']['reached'], made.report['search']['loss'] == 0
        assert abs(reached - 0.7) <= 0.01 or (free and 0 < reached < 0.7)


@pytest.mark.parametrize('space', ['paper', 'blocks'])
def test_unequal_blocks_meet_the_budget(space):
    "Blocks of a pyramid differ in size: the ratio is solved again for those that the trials chose"
    torch.manual_seed(0)
    args = dict(depths=(2, 2, 2, 2))
    model = timm.create_model('pvt_v2_b0', **args).eval()
    recipe = replace(shortest, space=space, metric_images=2, metric_iters=1)
    arch = dict(architecture='pvt_v2_b0', args=args)
    few = torch.rand(6, 3, 224, 224)
    made = dcvit.compress(model, few, keep_macs=0.8, recipe=recipe, arch=arch, **quietly)
    sizes = [b.whole.macs for b in read(model).blocks]
    near = 0.002 if space == 'paper' else max(sizes) / sum(sizes)
    assert abs(made.report['budget']['reached'] - 0.8) <= near


def test_pairs_and_stages_of_swin():
    "Swin's blocks are dropped in pairs of one stage; a downsampling layer stays"
    model = timm.create_model('swin_tiny_patch4_window7_224', **dict(swin, depths=(2, 3)))
    net = read(model)
    assert [b.group for b in net.blocks] == [0, 0, 2, 2, 4]
    assert [b.droppable for b in net.blocks] == [True] * 4 + [False]
