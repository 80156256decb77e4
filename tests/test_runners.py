"""Trials on a Ray cluster of two workers: the same bits as in one process, one worker killed on the way, resumed under
the other runner."""

import shutil
import threading
import time
from dataclasses import replace

import psutil
import pytest
import torch

import dcvit
from dcvit.base.errors import DcvitError
from dcvit.recipes import get_recipe

ray = pytest.importorskip('ray', reason='ray is not installed')
tiny = replace(
    get_recipe('paper'),
    unit='step',
    trial_length=6,
    step_length=2,
    candidates='inner',
    metric_iters=5,
    metric_warmup=1,
)


@pytest.fixture(scope='module')
def cluster():
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level='error',
        object_store_memory=200 * 2**20,
    )
    yield
    ray.shutdown()


def compress(teacher, digits, run, **more):
    return dcvit.compress(
        teacher,
        digits['train'],
        n=20,
        keep_macs=0.75,
        recipe=tiny,
        run_dir=run,
        timing=False,
        progress=False,
        **more,
    )


def same(a, b):
    others = b.model.state_dict()
    return all(torch.equal(v, others[k]) for k, v in a.model.state_dict().items())


def at_work():
    "Ray's workers name themselves after what they are doing"
    for process in psutil.process_iter(['cmdline']):
        words = process.info['cmdline'] or []
        if any('_in_worker' in word for word in words):
            yield process


def kill_one(run, killed, over):
    "Once a trial is finished, kill a worker that is at another"
    while not (killed or over.is_set()):
        if [*run.glob('trials/*')]:
            for process in at_work():
                process.kill()
                killed.append(process.pid)
                break
        time.sleep(0.02)


def with_a_kill(demo, digits, run):
    "`(student, pids of killed workers)` of a run with Ray; on a busy machine all may escape"
    killed, over = [], threading.Event()
    killer = threading.Thread(target=kill_one, args=(run, killed, over))
    killer.start()
    try:
        return compress(demo, digits, run, runner='ray'), killed
    finally:
        over.set()
        killer.join()


def test_ray_gives_the_same_bits_and_survives_a_killed_worker(
    cluster, demo, digits, tmp_path, fault
):
    fault('a Ray worker killed at a trial', 'the same bits as in one process')
    local = compress(demo, digits, tmp_path / 'local')
    for attempt in range(3):
        run = tmp_path / f'ray_{attempt}'
        spread, killed = with_a_kill(demo, digits, run)
        if killed:
            break
    assert killed, 'no worker was at work when it should have been killed'
    assert same(local, spread)
    assert local.report['trials'] == spread.report['trials']
    # a run that one runner began and the other finished
    mixed = tmp_path / 'mixed'
    shutil.copytree(run, mixed)
    trials = sorted((mixed / 'trials').iterdir())
    for path in [*trials[::2], *(mixed / 'steps').iterdir()]:
        path.unlink()
    assert same(local, compress(demo, digits, mixed))


def test_refused_with_a_sentence(cluster, teacher, digits, tmp_path):
    for more, says in (
        (dict(runner='slurm'), 'no runner'),
        (dict(runner='ray', trial_gpus=1), 'asks for 1 GPUs'),
        (dict(runner='ray', trial_cpus=99), 'asks for 99 CPUs'),
    ):
        with pytest.raises(DcvitError, match=says):
            compress(teacher, digits, tmp_path / says, **more)
    with pytest.raises(DcvitError, match='makes none'):
        dcvit.compress(teacher, digits['train'], n=20, keep_macs=0.6, runner='ray')
