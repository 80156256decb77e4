"""Every supported family, on random weights: costs to the last MAC, silenced mixers, saving, torch.export.

`pytest tests/test_families.py --full` takes one model of every family of the support table; without the flag, small ones of each kind."""
import csv
from pathlib import Path

import pytest, timm, torch
import dcvit
from dcvit import export, standalone
from dcvit.blocks import DcvitError, input_shape, read, trace
from dcvit.data import data_config
from dcvit.structure import Left, Structure, cost, whole
from dcvit.surgery import prune

small = {'test_vit': {}, 'test_vit3': {}, 'test_convnext': {}, 'test_resnet': {}, 'test_efficientnet': {}, 'test_coatnet': {},
    'beit_base_patch16_224': dict(embed_dim=64, num_heads=2, depth=2), 'eva02_tiny_patch14_224': dict(depth=2), 'cait_xxs24_224': dict(depth=2), 'convit_tiny': dict(depth=2), 'xcit_nano_12_p8_224': dict(depth=2),
    'mixer_s32_224': {}, 'resmlp_12_224': {}, 'pvt_v2_b0': dict(depths=(1,1,1,1)), 'swin_tiny_patch4_window7_224': dict(depths=(2,2), num_heads=(2,4), embed_dim=32, img_size=56),
    'swinv2_tiny_window8_256': dict(depths=(2,2), num_heads=(2,4), embed_dim=32, img_size=64), 'poolformerv2_s12': {}, 'caformer_s18': {}, 'hiera_tiny_224': dict(stages=(1,1,1,1)),
    'vit_relpos_small_patch16_224': dict(depth=2), 'regnety_002': {}, 'mobilenetv2_050': {}, 'mobilenetv3_small_050': {}, 'resnet50': dict(layers=(1,1,1,1)), 'resnet34': dict(layers=(2,1,1,1)), 'resnetv2_18': {}, 'efficientnet_b0': {}, 'levit_128s': {},
    'efficientformer_l1': {}, 'vit_base_patch16_siglip_224': dict(depth=2, embed_dim=64, num_heads=2), 'deit_tiny_distilled_patch16_224': dict(depth=2), 'deit3_small_patch16_224': dict(depth=2), 'vit_tiny_patch16_224': dict(depth=2, num_classes=0),
    'vit_base_patch14_reg4_dinov2': dict(depth=2, embed_dim=64, num_heads=2, img_size=56), 'vit_srelpos_small_patch16_224': dict(depth=2), 'convnextv2_atto': {}, 'focalnet_tiny_srf': {}, 'visformer_tiny': {}}

table = Path(__file__).resolve().parent.parent/'nbs'/'results'/'support.csv'
def full(): return {r['model']: {} for r in csv.DictReader(open(table)) if r['supported']=='True'} if table.exists() else {}

def pytest_generate_tests(metafunc):
    if 'case' in metafunc.fixturenames:
        cases = full() if metafunc.config.getoption('--full') else small
        metafunc.parametrize('case', cases.items(), ids=lambda c: c[0])

def counted(m):
    "MACs and parameters, by the counter"
    return trace(m)[0][''][0], sum(p.numel() for p in m.parameters())

def thin(net, q):
    "Every width times `q`, every other mixer gone where that is possible"
    left = lambda b: Left(0 if b.mixer.units and b.mixer.optional and b.index%2 else max(int(b.mixer.units>0), round(b.mixer.units*q)), max(1, round(b.mlp.units*q)))
    return Structure(tuple(map(left, net.blocks)))

def at_budget(net, q):
    "Widths for a share of the MACs, by bisection"
    lo,hi = 0.,1.
    for _ in range(20):
        mid = (lo+hi)/2
        lo,hi = (mid,hi) if cost(net, thin(net, mid)).macs<=q*net.total.macs else (lo,mid)
    return thin(net, lo)

def test_family(case, tmp_path):
    name,kw = case
    torch.manual_seed(0)
    m = timm.create_model(name, **kw).eval().requires_grad_(False); net = read(m); x = torch.randn(2, *input_shape(m))
    for p in m.parameters(): p.add_(.05*torch.randn_like(p)) # no scale or weight that starts at zero may hide an error
    assert (net.total.macs,net.total.params)==counted(m)
    # what the structure promises, to the last MAC
    s = at_budget(net, .75); student = prune(m, s, net=net); c = cost(net, s)
    assert counted(student)==(c.macs,c.params) and student(x).isfinite().all()
    # whole blocks
    gone = whole(net)
    for b in net.blocks:
        if b.droppable: gone = gone.set(b.index, Left(0,0))
    c = cost(net, gone); assert counted(prune(m, gone, net=net))==(c.macs,c.params)
    # r_d = 0 is the teacher with its mixers silenced
    bare = [b for b in net.blocks if b.mixer.units and b.mixer.optional]
    if bare:
        st,hooks = whole(net),[]
        for b in bare:
            st = st.set(b.index, Left(0, b.mlp.units)); block = m.get_submodule(b.name)
            last = [n for n in b.spec.mixer if isinstance(getattr(block, n, None), torch.nn.Module) and n not in b.spec.mlp][-1]
            hooks.append(getattr(block, last).register_forward_hook(lambda mod,a,y: torch.zeros_like(y)))
        silent = m(x)
        for h in hooks: h.remove()
        torch.testing.assert_close(prune(m, st, net=net)(x), silent, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(silent, m(x))
    # saved, loaded, exported
    arch = dict(architecture=name, args=kw)
    export.save(tmp_path/'s', student, s, arch, data_config(m))
    assert torch.equal(dcvit.load(tmp_path/'s').requires_grad_(False)(x), student(x)) # some attention kernels differ in the last bit when gradients are on
    torch.testing.assert_close(torch.export.export(student, (x,)).module()(x), student(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(standalone.load(tmp_path/'s')(x), student(x), rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('name', ['vgg11','densenet121','inception_v3','tnt_s_legacy_patch16_224','ghostnet_050'])
def test_refused_with_a_sentence(name):
    with pytest.raises(DcvitError, match='is not supported'): read(timm.create_model(name))

@pytest.mark.parametrize('name,kw', [('swin_tiny_patch4_window7_224', dict(depths=(2,2), num_heads=(2,4), embed_dim=32, img_size=56)), ('test_resnet', {}), ('test_convnext', {}), ('vit_tiny_patch16_224', dict(depth=3, num_classes=0, img_size=32))])
def test_compress_runs_unchanged(name, kw):
    "The same call for a hierarchical transformer, a CNN, and a backbone without a head"
    torch.manual_seed(0)
    m = timm.create_model(name, **kw).eval(); c,h,w = input_shape(m)
    few = torch.rand(12, c, h, w)
    for recipe in ('closed-form', dcvit.Recipe(space='blocks', unit='step', trial_length=1, step_length=1, augment='none', metric_images=4, metric_iters=2, candidates='all')):
        res = dcvit.compress(m, few, keep_macs=.7, recipe=recipe, arch=dict(architecture=name, args=kw), timing=False, progress=False)
        assert res.report['fidelity']['few_shot']['kl']>=0 and res.model(torch.randn(2,c,h,w)).isfinite().all()
        if recipe=='closed-form': assert abs(res.report['budget']['reached']-.7)<=.01

@pytest.mark.parametrize('space', ['paper','blocks'])
def test_unequal_blocks_meet_the_budget(space):
    "Blocks of a pyramid differ in size: the ratio is solved again for those that the trials chose"
    torch.manual_seed(0)
    m = timm.create_model('pvt_v2_b0', depths=(2,2,2,2)).eval(); few = torch.rand(6, 3, 224, 224)
    recipe = dcvit.Recipe(space=space, unit='step', trial_length=1, step_length=1, augment='none', metric_images=2, metric_iters=1, candidates='all')
    res = dcvit.compress(m, few, keep_macs=.8, recipe=recipe, arch=dict(architecture='pvt_v2_b0', args=dict(depths=(2,2,2,2))), timing=False, progress=False)
    sizes = [b.whole.macs for b in read(m).blocks]
    assert abs(res.report['budget']['reached']-.8)<=(.002 if space=='paper' else max(sizes)/sum(sizes))

def test_pairs_and_stages_of_swin():
    "Swin's blocks are dropped in pairs of one stage; a downsampling layer stays"
    m = timm.create_model('swin_tiny_patch4_window7_224', depths=(2,3), num_heads=(2,4), embed_dim=32, img_size=56); net = read(m)
    assert [b.group for b in net.blocks]==[0,0,2,2,4] and [b.droppable for b in net.blocks]==[True]*4+[False]
