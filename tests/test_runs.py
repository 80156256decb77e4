"""The whole pipeline: seeds, resuming, being killed, the command line."""
import random, shutil, signal, subprocess, time
from dataclasses import replace

import pytest, torch
import dcvit
from conftest import command
from dcvit.recipe import Recipe, get_recipe
from safetensors.torch import load_file

tiny = dict(space='paper', mode='progressive', candidates='inner', trial_length=4, step_length=4, metric_iters=20, metric_warmup=2)
sets = ','.join(f'{k}={v}' for k,v in tiny.items())
args = ['compress','demo','--keep_macs','.6','--set',sets,'--seed','3']

def same(a, b):
    a,b = (load_file(x/'model.safetensors') for x in (a,b))
    assert {*a}=={*b} and all(torch.equal(a[k], b[k]) for k in a)

@pytest.fixture(scope='module')
def whole(tmp_path_factory, cli):
    "An uninterrupted run"
    d = tmp_path_factory.mktemp('whole')
    t = time.time()
    p = cli(*args, '--out', d/'student', '--run_dir', d/'run')
    assert p.returncode==0, p.stderr
    return d, time.time()-t

def listen():
    "Ctrl-C reaches the child even where this process was started in the background, which ignores it"
    signal.signal(signal.SIGINT, signal.SIG_DFL)

def test_killed_at_random_instants_and_resumed(whole, tmp_path, cli):
    "Killed again and again, each time going on; the student is the same, bit for bit"
    d,seconds = whole
    rng,kills = random.Random(0),0
    cmd = [command,*args,'--out',str(tmp_path/'student'),'--run_dir',str(tmp_path/'run')]
    for i in range(16):
        p = subprocess.Popen(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=listen)
        try: p.wait(rng.uniform(.35, .8)*seconds)
        except subprocess.TimeoutExpired: p.send_signal((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[kills%3]); kills += 1
        p.wait()
        if kills>=6 and not p.returncode: break
        if not p.returncode: shutil.rmtree(tmp_path/'run'); shutil.rmtree(tmp_path/'student') # finished before the kill: start over
    assert kills>=6
    assert cli(*args, '--out', tmp_path/'student', '--run_dir', tmp_path/'run').returncode==0
    same(tmp_path/'student', d/'student')

def test_no_partial_files(whole):
    assert not [p for p in whole[0].rglob('.*') if p.name!='.lock']

def test_other_configuration_is_refused(whole, cli):
    p = cli(*args[:-1], '4', '--out', whole[0]/'other', '--run_dir', whole[0]/'run')
    assert p.returncode==2 and 'another configuration: ' in p.stderr and 'seed (3 before, 4 now)' in p.stderr

def test_ctrl_c(tmp_path):
    p = subprocess.Popen([command,'compress','demo','--keep-macs','.6','--set','trial_length=500,space=paper,mode=progressive','--out',str(tmp_path/'s')], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    time.sleep(9); p.send_signal(signal.SIGINT)
    out,err = p.communicate(timeout=60)
    assert p.returncode==130 and 'Traceback' not in err and not (tmp_path/'s').exists()

@pytest.mark.parametrize('mode,space,refit', [('progressive','paper',False),('oneshot','paper',False),('progressive','blocks',True),('oneshot','uniform',True),('oneshot','search',True)])
def test_two_runs_with_one_seed_are_identical(teacher, digits, mode, space, refit):
    r = replace(get_recipe('fast'), **{**tiny, 'mode':mode, 'space':space, 'refit':refit})
    a,b,c = (dcvit.compress(teacher, digits['train'], n=20, keep_macs=.6, recipe=r, seed=s, timing=False, progress=False) for s in (1,1,2))
    eq = lambda u,v: {*u}=={*v} and all(u[k].shape==v[k].shape and torch.equal(u[k], v[k]) for k in u)
    assert eq(a.model.state_dict(), b.model.state_dict()) and not eq(a.model.state_dict(), c.model.state_dict())
    assert a.report['trials']==b.report['trials'] and bool(a.report['trials'])==(space in ('paper','blocks'))

def test_augmented_paper_recipe_resumes(teacher, digits, tmp_path):
    "The paper's recipe, shortened: augmentation and trials resume too"
    r = replace(Recipe(), trial_length=2, step_length=2, views=2, metric_iters=10, metric_warmup=2)
    run = lambda d: dcvit.compress(teacher, digits['train'], n=10, keep_macs=.75, recipe=r, run_dir=d, timing=False, progress=False).model.state_dict()
    a = run(tmp_path/'a')
    shutil.copytree(tmp_path/'a', tmp_path/'b')
    for f in [*(tmp_path/'b'/'steps').iterdir(), *sorted((tmp_path/'b'/'trials').iterdir())[3:]]: f.unlink()
    b = run(tmp_path/'b')
    assert all(torch.equal(a[k], b[k]) for k in a)

@pytest.mark.parametrize('recipe', ['closed-form','fast'])
@pytest.mark.parametrize('keep', [.8,.5,.2])
def test_recovery_helps_where_it_was_not_trained(teacher, digits, recipe, keep):
    from dcvit.data import data_config, normalise
    test = normalise(digits['test'], data_config(teacher)), digits['test_y']
    res = dcvit.compress(teacher, digits['train'], n=50, keep_macs=keep, recipe=recipe, labelled=test, timing=False, progress=False)
    f = res.report['fidelity']['labelled']
    assert f['kl']<=f['kl_before'] and f['agreement']>=f['agreement_before']-.2 and abs(res.report['budget']['reached']-keep)<=.005
    assert f['agreement']>(99 if keep>=.5 else 60)

def test_searched_run_resumes(teacher, digits, tmp_path):
    "Search, refit and mimic are pieces of their own; whatever is missing is made again, bit for bit"
    r = replace(get_recipe('fast'), step_length=20)
    run = lambda d: dcvit.compress(teacher, digits['train'], n=30, keep_macs=.4, recipe=r, run_dir=d, timing=False, progress=False).model.state_dict()
    a = run(tmp_path/'a')
    for gone in (['steps/mimic'], ['steps/mimic','steps/refit'], ['steps/mimic','steps/refit','search']):
        d = tmp_path/gone[-1].replace('/','_'); shutil.copytree(tmp_path/'a', d)
        for g in gone: (d/f'{g}.safetensors').unlink()
        b = run(d); assert all(torch.equal(a[k], b[k]) for k in a), gone

@pytest.mark.parametrize('batch', [1,16])
def test_latency_budget(teacher, digits, batch):
    "What is reported is what was measured; how near it comes is a benchmark's matter"
    res = dcvit.compress(teacher, digits['train'], n=30, keep_latency=.8, latency_batch=batch, recipe='closed-form', timing=False, progress=False)
    l = res.report['latency_budget']
    assert l['batch']==batch and l['measured_ms']>0 and l['predicted_ms']>0 and res.report['student']['macs']<=res.report['teacher']['macs']

def test_synthetic_images(teacher):
    r = replace(get_recipe('closed-form'), metric_iters=20)
    res = dcvit.compress(teacher, 'synthetic', n=20, keep_macs=.6, recipe=r, timing=False, progress=False)
    assert res.report['few_shot']['images']==20

def test_family_command(cli, tmp_path):
    p = cli('family', 'demo', '--n', 30, '--budgets', '.4,.9', '--out', tmp_path/'f'); assert p.returncode==0, p.stderr
    p = cli('at', tmp_path/'f', '--keep-macs', .55, '--out', tmp_path/'s'); assert p.returncode==0, p.stderr
    p = cli('eval', tmp_path/'s', '--teacher', 'demo'); assert p.returncode==0 and 'agreement' in p.stdout, p.stderr
    p = cli('at', tmp_path/'s', '--keep-macs', .55); assert p.returncode==2 and 'is not a family' in p.stderr

def test_demo_command(cli, tmp_path):
    p = cli('demo', '--keep_macs', '.6', cwd=tmp_path)
    assert p.returncode==0, p.stderr
    for words in ('asked 0.600','hidden sizes','top-1','latency','saved','the same logits'): assert words in p.stdout
    q = cli('eval', tmp_path/'out'/'demo', '--teacher', 'demo')
    assert q.returncode==0 and 'agreement' in q.stdout

def test_metric_set_file(teacher, digits, tmp_path):
    from dcvit.files import write_tensors
    write_tensors(tmp_path/'s.safetensors', dict(images=torch.randn(5,1,8,8)))
    r = replace(get_recipe('fast'), **tiny)
    assert dcvit.compress(teacher, digits['train'], n=10, keep_macs=.7, recipe=r, metric_set=tmp_path/'s.safetensors', timing=False, progress=False).report['fidelity']['metric_set']['images']==5
