"""Properties that hold for any structure and any budget."""

import json
from dataclasses import replace
from functools import cache

import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dcvit.base.errors import DcvitError
from dcvit.images.measure import agreement, kl
from dcvit.images.temperature import temperature
from dcvit.model.blocks import Cost, Part
from dcvit.model.budget import budget
from dcvit.model.reading import read
from dcvit.model.sequence import sequence_of
from dcvit.model.structure import Left, Structure, cost, from_json, to_json
from dcvit.model.surgery import prune
from dcvit.model.tokens import read_seeing, schedule, shapes
from dcvit.paper.plan import candidates, feasible, inverse, meeting, plan

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def model(name):
    return timm.create_model(name, img_size=64).eval().requires_grad_(False)


@cache
def net(name):
    return read(model(name))


def narrower(left, widths):
    "The same with heads of these widths, where it has heads"
    return replace(left, widths=widths) if left.mixer else left


def structures(name):
    n = net(name)

    def left(b):
        found = st.builds(Left, st.integers(0, b.mixer.units), st.integers(0, b.mlp.units))
        if b.mixer.widths is None:
            return found
        width = st.integers(1, b.mixer.widths.whole)
        return st.builds(narrower, found, st.none() | st.tuples(width, width))

    return st.tuples(*map(left, n.blocks)).map(Structure)


def seeing_less(name):
    "Structures that pass on all tokens, or fewer"
    seq = sequence_of(model(name))
    if seq is None:
        return structures(name)
    merged = st.integers(0, seq.tokens - seq.fixed - 1)

    def with_tokens(s, n, shape):
        return replace(s, tokens=schedule(seq, len(s), n, shape) if n else None)

    return st.builds(with_tokens, structures(name), merged, st.sampled_from([*shapes]))


@pytest.mark.parametrize('name', ['test_vit', 'test_vit2', 'test_vit3', 'test_vit4'])
def test_student_costs_what_the_structure_promises(name):
    @quick
    @given(seeing_less(name))
    def check(s):
        student = prune(model(name), s)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as f:
            out = student(torch.zeros(1, 3, 64, 64))
        c = cost(read_seeing(model(name), net(name), s), s)
        assert f.get_total_flops() == 2 * c.macs
        assert sum(p.numel() for p in student.parameters()) == c.params
        assert out.isfinite().all() and {*student.state_dict()} <= {*model(name).state_dict()}

    check()


@quick
@given(seeing_less('test_vit2'))
def test_json_round_trip(s):
    assert from_json(json.loads(json.dumps(to_json(s))), net('test_vit2')) == s


@quick
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=20,
    )
)
def test_any_json_is_a_structure_or_a_sentence(obj):
    try:
        from_json(obj, net('test_vit2'))
    except DcvitError as e:
        assert str(e)


big = read(timm.create_model('vit_base_patch16_224'))


asked = st.one_of(
    st.tuples(st.just('keep_params'), st.just(None)),
    st.tuples(st.just('keep_macs'), st.sampled_from(['all', 'linear'])),
)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 1.0), asked)
def test_every_budget_is_met_or_refused_with_the_range(q, words):
    key, count = words
    b = budget(big, **{key: q}, count=count)
    cands = candidates(big)
    low, high = feasible(big, b, cands)
    try:
        found = plan(big, b, cands)
    except DcvitError as e:
        assert 'reach' in str(e)
        assert not low <= b.target <= high
        return
    s = meeting(big, b, cands[: found.k])
    assert abs(b.prices.total(s) - b.target) / b.teacher <= 5e-3
    assert inverse(big, s).k == found.k
    assert 0 <= found.r_d < 1


@given(st.integers(1, 64), st.integers(0, 64))
def test_part_adds_up(units, n):
    p = Part(units, Cost(7, 5, 3), Cost(0, 0, 11))
    if n > units:
        with pytest.raises(DcvitError):
            p.at(n)
    else:
        assert p.at(n) == (Cost() if n == 0 else Cost(7 * n, 5 * n, 3 * n + 11))


@quick
@given(st.integers(1, 60), st.integers(2, 50), st.floats(0.05, 20), st.integers(0, 9))
def test_no_temperature_is_closer_than_the_one_found(n, classes, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    teacher = 3 * torch.randn(n, classes, generator=generator)
    student = scale * (teacher + torch.randn(n, classes, generator=generator))
    found = temperature(teacher, student)
    assert 1 / 8 <= found <= 8
    best = kl(teacher, student / found)
    for other in (0.125, 0.3, 0.9 * found, 1.0, 1.1 * found, 3.0, 8.0):
        if 1 / 8 <= other <= 8:
            assert best <= kl(teacher, student / other) * 1.001 + 1e-5
    assert agreement(teacher, student / found) == agreement(teacher, student)
