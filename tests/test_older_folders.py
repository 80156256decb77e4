"""Folders that version 0.3.0 wrote: students and families load and compute the same, a run goes on."""

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

import dcvit
from dcvit.images.demo import demo_data
from dcvit.ship.standalone import load_plain

folder = Path(__file__).parent / 'written_by_0_3'
outputs = load_file(folder / 'outputs.safetensors')


def close(found, name):
    torch.testing.assert_close(found, outputs[name], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('load', [dcvit.load, load_plain])
def test_student(load):
    close(load(folder / 'student')(outputs['images']), 'student')


@torch.no_grad()
def test_family():
    family = dcvit.load_family(folder / 'family')
    close(family.at(keep_macs=0.7, polish=False)(outputs['images']), 'family')


def test_saving_an_old_student_again_writes_the_new_format(tmp_path):
    result = dcvit.load_family(folder / 'family').result(keep_macs=0.7)
    result.save(tmp_path / 's')
    description = json.loads((tmp_path / 's' / 'structure.json').read_text())
    assert description['format'] == 3 and {*description['blocks'][0]} == {'mixer', 'mlp'}


@torch.no_grad()
def test_run_goes_on(tmp_path):
    "Its finished pieces are taken: the student is the one that 0.3.0 made"
    shutil.copytree(folder / 'run', tmp_path / 'run')
    description = json.loads((folder / 'student' / 'structure.json').read_text())
    arch = {key: description[key] for key in ('architecture', 'args')}
    teacher = timm.create_model(arch['architecture'], **arch['args']).eval()
    teacher.load_state_dict(load_file(folder / 'teacher.safetensors'))
    then = dict(batch=64, logits=0.0, lr=3e-4, rise_length=0, minutes=0)  # the defaults of then
    recipe = dcvit.SearchRecipe(step_length=0, **then)
    how = dict(recipe=recipe, arch=arch, timing=False, progress=False)
    made = dcvit.compress(
        teacher, demo_data()['train'][:20], keep_macs=0.6, run_dir=tmp_path / 'run', **how
    )
    close(made.model(outputs['images']), 'student')
