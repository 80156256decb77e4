"What one try may cost, whatever was tried"

import gc
import signal
from contextlib import contextmanager
from pathlib import Path

busy, waiting = 10, 60  # seconds: of the processor, and on the clock, which other processes share
memory = 3 * 2**30  # bytes

process = Path('/proc/self')


def _peak():
    "Most bytes in memory since `_forget`; 0 where the system does not tell"
    status = process / 'status'
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024


def _forget():
    reset = process / 'clear_refs'
    if reset.exists():
        reset.write_text('5')


def growth(call):
    "Bytes by which memory rose at most"
    gc.collect()
    _forget()
    before = _peak()
    call()
    return _peak() - before


def _too_long(*_):
    raise AssertionError(f'hangs: over {busy} s of work, or {waiting} s of waiting')


@contextmanager
def limited():
    "Fails what takes over 10 s or 3 GiB; also a decorator"
    before = [signal.signal(kind, _too_long) for kind in (signal.SIGPROF, signal.SIGALRM)]
    _forget()
    signal.setitimer(signal.ITIMER_PROF, busy)
    signal.setitimer(signal.ITIMER_REAL, waiting)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for kind, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(kind, handler)
    assert _peak() < memory, f'{_peak() / 2**30:.1f} GiB'
