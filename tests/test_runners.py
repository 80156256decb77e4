"""Trials on a Ray cluster of two workers: the same bits as in one process, one worker killed on the way, resumed under the other runner."""
import shutil, threading, time
from dataclasses import replace

import psutil, pytest, torch
import dcvit
from dcvit.blocks import DcvitError
from dcvit.recipe import get_recipe

ray = pytest.importorskip('ray', reason='ray is not installed')
tiny = replace(get_recipe('paper'), unit='step', trial_length=10, step_length=2, candidates='inner', metric_iters=5, metric_warmup=1)

@pytest.fixture(scope='module')
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='error', object_store_memory=200*2**20)
    yield
    ray.shutdown()

def compress(teacher, digits, run, **kw): return dcvit.compress(teacher, digits['train'], n=20, keep_macs=.6, recipe=tiny, run_dir=run, timing=False, progress=False, **kw)

def same(a, b): return all(torch.equal(v, b.model.state_dict()[k]) for k,v in a.model.state_dict().items())

def at_work():
    "Ray's workers name themselves after what they are doing"
    for p in psutil.process_iter(['cmdline']):
        if any('_in_worker' in w for w in p.info['cmdline'] or []): yield p

def kill_one(run, killed):
    "Once a trial is finished, kill a worker that is at another"
    end = time.time()+120
    while time.time()<end and not killed:
        if [*run.glob('trials/*')]:
            for p in at_work(): p.kill(); killed.append(p.pid); break
        time.sleep(.05)

def test_ray_gives_the_same_bits_and_survives_a_killed_worker(cluster, teacher, digits, tmp_path):
    local = compress(teacher, digits, tmp_path/'local'); killed = []
    t = threading.Thread(target=kill_one, args=(tmp_path/'ray', killed)); t.start()
    spread = compress(teacher, digits, tmp_path/'ray', runner='ray'); t.join()
    assert killed, 'no worker was at work when it should have been killed'
    assert same(local, spread) and local.report['trials']==spread.report['trials']
    # a run that one runner began and the other finished
    shutil.copytree(tmp_path/'ray', tmp_path/'mixed')
    for p in [*sorted((tmp_path/'mixed'/'trials').iterdir())[::2], *(tmp_path/'mixed'/'steps').iterdir()]: p.unlink()
    assert same(local, compress(teacher, digits, tmp_path/'mixed'))

def test_refused_with_a_sentence(cluster, teacher, digits, tmp_path):
    for kw,says in ((dict(runner='slurm'), 'no runner'), (dict(runner='ray', trial_gpus=1), 'asks for 1 GPUs'), (dict(runner='ray', trial_cpus=99), 'asks for 99 CPUs')):
        with pytest.raises(DcvitError, match=says): compress(teacher, digits, tmp_path/says, **kw)
    with pytest.raises(DcvitError, match='has none'): dcvit.compress(teacher, digits['train'], n=20, keep_macs=.6, runner='ray')
