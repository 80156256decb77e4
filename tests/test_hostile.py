"""Every boundary against input that nobody meant to send: it works, or it says one sentence."""
import json, shutil, subprocess, sys, time
from pathlib import Path

import numpy as np, pytest, torch
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
import dcvit
from conftest import command
from dcvit import cli as cli_module
from dcvit.blocks import DcvitError
from dcvit.data import open_image
import malformed

many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

@pytest.fixture(scope='module')
def saved(tmp_path_factory, teacher, digits):
    "A student, a family and a run folder of the demo teacher"
    d = tmp_path_factory.mktemp('saved'); few = digits['train'][:30]
    dcvit.compress(teacher, few, keep_macs=.6, recipe='closed-form', timing=False, progress=False, run_dir=d/'run').save(d/'student')
    dcvit.family(teacher, few, budgets=(.5,.8), calibration=4, progress=False).save(d/'family')
    return d

# image files

@pytest.mark.parametrize('kind', ['good','bad'])
def test_image_files(kind, tmp_path):
    "Read correctly, or refused by name"
    files = malformed.write(tmp_path, getattr(malformed, kind)); assert len(files)>=100
    want = {n: s for n,_,*s in getattr(malformed, kind)()}
    grey = np.asarray(Image.fromarray(malformed.photo()).convert('L'), dtype=float)
    for p in files:
        if kind=='bad':
            with pytest.raises(DcvitError) as e: open_image(p)
            assert p.name in str(e.value)
            continue
        im = open_image(p); assert im.mode=='RGB' and im.size==want[p.name][0]
        if im.size==(64,48) and not p.name.startswith(('turned','lab')): assert np.corrcoef(np.asarray(im.convert('L'), dtype=float).ravel(), grey.ravel())[0,1]>(.2 if p.name[0] in '1qI' else .85), p.name

def test_skip_bad_images(cli, tmp_path):
    "The default stops at the first bad file; the flag carries on and lists what it skipped"
    good,bad = malformed.write(tmp_path/'few', malformed.good), malformed.write(tmp_path/'few', malformed.bad)
    words = ['compress','demo',tmp_path/'few','--recipe','closed-form','--keep-macs','.6','--out',tmp_path/'s']
    p = cli(*words); assert p.returncode==2 and 'not an image' in p.stderr and 'Traceback' not in p.stderr and not (tmp_path/'s').exists()
    p = cli(*words, '--skip-bad-images'); assert p.returncode==0, p.stderr
    r = json.loads((tmp_path/'s'/'report.json').read_text())['few_shot']
    assert r['images']==len(good) and len(r['skipped'])==len(bad) and all(any(b.name in s for s in r['skipped']) for b in bad) and p.stdout.count('skipped ')==len(bad)

@given(cut=st.floats(0,1), flips=st.lists(st.tuples(st.floats(0,.999), st.integers(0,255)), max_size=8), fmt=st.sampled_from([*malformed.formats.items()]))
@many
def test_any_bytes_are_an_image_or_a_sentence(cut, flips, fmt, tmp_path):
    d = bytearray(malformed.coded(fmt[1])); d = d[:max(1, int(len(d)*cut))] if cut<.7 else d
    for at,v in flips: d[int(at*len(d))] = v
    p = tmp_path/f'x.{fmt[0]}'; p.write_bytes(d)
    try: im = open_image(p); assert im.mode=='RGB'
    except DcvitError as e: assert 'x.' in str(e)

# folders

def leaves(obj, at=()):
    "Paths of everything inside a JSON value"
    yield at
    for k,v in obj.items() if isinstance(obj, dict) else enumerate(obj) if isinstance(obj, list) else (): yield from leaves(v, (*at,k))

def replaced(obj, at, v):
    "`obj` with another value at a path, or without it"
    if not at: return v
    out = dict(obj) if isinstance(obj, dict) else list(obj)
    if v is gone and len(at)==1: del out[at[0]]
    else: out[at[0]] = replaced(obj[at[0]], at[1:], v)
    return out

gone = object()
odd = st.one_of(st.just(gone), st.none(), st.booleans(), st.integers(-2**70, 2**70), st.floats(), st.text(max_size=12), st.sampled_from(['../../etc/passwd','/etc/passwd','hf-hub:a/b','__import__("os")','x'*5000, [], {}, [[]], {'a': [1]}, 10**400]), st.lists(st.integers(-3,400), max_size=3))

def outside(folder):
    "What lies beside a folder; must not change"
    return sorted(p.name for p in folder.parent.iterdir())

def works_or_says(f):
    try: f()
    except DcvitError as e: assert str(e) and '\n' not in str(e)[:400]

@pytest.mark.parametrize('kind,file,load', [('student','structure.json',lambda d: dcvit.load(d)), ('student','structure.json',lambda d: cli_module._fresh(d)), ('family','family.json',lambda d: dcvit.load_family(d).student(dcvit.load_family(d).structure(keep_macs=.6)))])
@given(data=st.data())
@settings(many, max_examples=20)
def test_any_description(kind, file, load, data, saved, tmp_path):
    "One value of the JSON is replaced or removed; or the text is damaged"
    d = tmp_path/'d'; shutil.rmtree(d, ignore_errors=True); shutil.copytree(saved/kind, d); before = outside(d)
    obj = json.loads((d/file).read_text())
    if data.draw(st.integers(0,4)): 
        obj = replaced(obj, data.draw(st.sampled_from([p for p in leaves(obj) if p])), data.draw(odd)); text = json.dumps(obj)
    else: text = json.dumps(obj); i = data.draw(st.integers(0, len(text)-1)); text = text[:i]+data.draw(st.text(max_size=3))+text[i+data.draw(st.integers(0,3)):]
    (d/file).write_text(text, encoding='utf-8', errors='surrogatepass')
    works_or_says(lambda: load(d)); assert outside(d)==before

@given(at=st.integers(0, 4000), byte=st.integers(0,255), cut=st.integers(0, 10**6))
@many
def test_any_weights(at, byte, cut, saved, tmp_path):
    "A flipped byte in the header of the weights, or a cut file"
    d = tmp_path/'d'; shutil.rmtree(d, ignore_errors=True); shutil.copytree(saved/'student', d)
    w = bytearray((d/'model.safetensors').read_bytes()); w[at] = byte; w = w[:cut] if cut<len(w) and at%2 else w
    (d/'model.safetensors').write_bytes(w); works_or_says(lambda: dcvit.load(d))

@given(text=st.one_of(st.text(max_size=40), st.recursive(st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)), lambda c: st.one_of(st.lists(c, max_size=3), st.dictionaries(st.text(max_size=8), c, max_size=3)), max_leaves=8).map(json.dumps)))
@settings(many, max_examples=25)
def test_any_run_folder(text, saved, teacher, digits, tmp_path):
    "A configuration that is damaged, or of another version, is refused"
    d = tmp_path/'run'; shutil.rmtree(d, ignore_errors=True); shutil.copytree(saved/'run', d); (d/'config.json').write_text(text, encoding='utf-8', errors='surrogatepass')
    with pytest.raises(DcvitError): dcvit.compress(teacher, digits['train'][:30], keep_macs=.6, recipe='closed-form', timing=False, progress=False, run_dir=d)

words = st.one_of(st.sampled_from(['demo','info','compress','family','at','eval','export','bench','--keep-macs','--keep_params','.5','1e999','nan','-1','--n','0','-5','--out','/dev/null','--recipe','--set','lr=nan','space=x','--args','{}','[1]','{"a":','--mean','--eval','--seed','--device','meta','--help','--version','','-','--','--budgets','.5,.6','x/../..','\0','--metric-set']), st.text(max_size=10))

@given(argv=st.lists(words, max_size=6))
@many
def test_any_command_line(argv, capsys, tmp_path, monkeypatch):
    "A status and at most one sentence; never a traceback. Commands that would start to work are not run here"
    monkeypatch.chdir(tmp_path)
    def stop(*a, **k): raise DcvitError('would start')
    for n in ('compress','family','demo'): monkeypatch.setitem(cli_module.commands, n, _with_signature(cli_module.commands[n], stop))
    monkeypatch.setitem(cli_module.commands, 'bench', _with_signature(cli_module.bench, stop))
    try: status = cli_module.run(argv)
    except SystemExit as e: status = e.code or 0
    assert status in (0, 2)
    err = capsys.readouterr().err; assert 'Traceback' not in err and err.count('\n')<=1 + ' '.join(argv).count('\n'), err

def _with_signature(f, g):
    import functools
    return functools.wraps(f)(g)

# numbers at the edge

@pytest.mark.parametrize('kind', ['half','bfloat16','constant','one','few','inputs'])
def test_numbers_at_the_edge(kind, teacher, digits):
    "Half-precision checkpoints, constant images, a single image, more neurons than samples: a finite student, or a sentence"
    from copy import deepcopy
    m,x = deepcopy(teacher),digits['train'][:20]
    if kind=='half': m = m.half()
    if kind=='bfloat16': m = m.bfloat16()
    if kind=='constant': x = torch.full_like(x, 128)
    if kind=='one': x = x[:1]
    if kind=='few': x = x[:2] # 34 tokens for 192 neurons
    if kind=='inputs':
        with pytest.raises(DcvitError, match='floats from 0 to 1'): dcvit.compress(m, x.float()*float('nan'), keep_macs=.6, progress=False)
        return
    for recipe in ('closed-form', dcvit.Recipe(unit='step', step_length=3, trial_length=3, metric_iters=3, metric_warmup=1, space='paper', augment='none')):
        res = dcvit.compress(m, x, keep_macs=.6, recipe=recipe, timing=False, progress=False)
        assert all(p.isfinite().all() for p in res.model.parameters()) and np.isfinite(res.report['fidelity']['few_shot']['kl'])
        if kind in ('half','bfloat16'): assert next(m.parameters()).dtype in (torch.float16, torch.bfloat16) # the teacher is not changed

def test_two_processes_on_one_run_folder(cli, tmp_path):
    "One wins, the other says so; the winner is not disturbed"
    words = ['compress','demo','--keep-macs','.6','--set','space=paper,trial_length=20,step_length=5,unit=step','--run-dir',str(tmp_path/'run')]
    first = subprocess.Popen([command,*words,'--out',str(tmp_path/'a')], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    end = time.time()+120
    while not (tmp_path/'run'/'config.json').exists() and time.time()<end: time.sleep(.1)
    p = cli(*words, '--out', tmp_path/'b')
    assert p.returncode==2 and 'in use by another process' in p.stderr and not (tmp_path/'b').exists()
    assert first.wait(timeout=300)==0 and (tmp_path/'a'/'structure.json').exists()

def test_older_run_folder(teacher, digits, tmp_path, saved):
    "A run folder whose configuration another version wrote is named, with what differs"
    shutil.copytree(saved/'run', tmp_path/'run'); c = json.loads((tmp_path/'run'/'config.json').read_text()); del c['recipe']['held']; c['recipe']['speed'] = 9
    (tmp_path/'run'/'config.json').write_text(json.dumps(c))
    with pytest.raises(DcvitError, match='another configuration: .*recipe.held'): dcvit.compress(teacher, digits['train'][:30], keep_macs=.6, recipe='closed-form', timing=False, progress=False, run_dir=tmp_path/'run')

def test_read_only_output(teacher, digits, tmp_path):
    "A folder that cannot be written is a sentence, before and after the work"
    d = tmp_path/'ro'; d.mkdir()
    if subprocess.run(['mount','-t','tmpfs','-o','ro','tmpfs',d], capture_output=True).returncode: pytest.skip('mounting a tmpfs is not allowed here')
    try:
        with pytest.raises(DcvitError, match='cannot use'): dcvit.compress(teacher, digits['train'], n=20, keep_macs=.6, run_dir=d/'run', progress=False)
        res = dcvit.compress(teacher, digits['train'], n=20, keep_macs=.6, recipe='closed-form', timing=False, progress=False)
        with pytest.raises(DcvitError, match='cannot write'): res.save(d/'student')
    finally: subprocess.run(['umount', d])

def test_names_stay_inside(saved, tmp_path):
    "Tensor names with paths in them are names, not paths"
    from safetensors.torch import load_file, save_file
    d = tmp_path/'d'; shutil.copytree(saved/'student', d); w = load_file(d/'model.safetensors')
    save_file({**w, '../../escaped': torch.zeros(1), '/tmp/escaped': torch.zeros(1)}, d/'model.safetensors')
    with pytest.raises(DcvitError, match='escaped'): dcvit.load(d)
    assert not (tmp_path.parent/'escaped').exists() and not Path('/tmp/escaped').exists()

def test_imports_are_light():
    "`import dcvit` takes nothing that is only needed later"
    code = "import sys, dcvit; print(*[m for m in ('timm','torchvision','matplotlib','seaborn','ipywidgets','onnx','onnxruntime','onnxscript','ray','sklearn','pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip()==''
