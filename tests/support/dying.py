"""Processes that kill themselves at a named point. Who is killed from outside may have ended before the killer looked.

`DYING="past_hf.training.watch:Watch.on_log 5"` is kill -9 at the end of the fifth call of that function; with `DYING_RANK=1` only in that
worker of several; `INTERRUPTING` is Ctrl-C there (or a signal that is named last), and `HOLDING` waits there until Ctrl-C comes from elsewhere. A process that began under these variables by `main` or `prepare` obeys them; what it starts does so by itself as well.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import stills

WORKER = "past_hf.training.worker"
PIDS = "DYING_PIDS"
"""Names a folder where each worker leaves its process id, as `RANK.pid`."""
HELD = "HOLDING_IN"
"""Names a folder where each process that waits leaves a file."""
WANTED = {"DYING", "INTERRUPTING", "HOLDING", "STILLS"}
"""One of these in its environment, and `past` is begun by this module."""


def prepare() -> None:
    """Of `python -m pastcli`: die there, or start workers that do; or keep what a kill at each step would leave."""
    if "STILLS" in os.environ:
        stills.begin(Path(os.environ["STILLS"]), Path.cwd())
        return
    if "INTERRUPTING" in os.environ:
        place, calls, *other = os.environ["INTERRUPTING"].split()
        _die_after(place, calls, number=signal.Signals[other[0]] if other else signal.SIGINT)
        return
    if "HOLDING" in os.environ:
        _after(*os.environ["HOLDING"].split(), _hold)
        return
    if "DYING_RANK" not in os.environ:
        _die_after(*os.environ["DYING"].split())
        return
    from past_hf.training import layout

    layout.MODULE = "dying"


def _die_after(place: str, calls: str, before: Callable[[], None] = lambda: None, number: int = signal.SIGKILL) -> None:
    def die() -> None:
        before()
        os.kill(os.getpid(), number)

    _after(place, calls, die)


def _after(place: str, calls: str, action: Callable[[], None]) -> None:
    """Do something at the end of so many calls of a function."""
    module, _, name = place.partition(":")
    *owners, last = name.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    real, count = getattr(owner, last), itertools.count(1)

    @functools.wraps(real)
    def counted(*args, **named):
        made = real(*args, **named)
        if next(count) == int(calls):
            action()
        return made

    setattr(owner, last, counted)


def _hold() -> None:
    """Wait for Ctrl-C, and be seen to wait: how busy the machine is decides nothing."""
    heard, answer = [], signal.getsignal(signal.SIGINT)

    def hear(*told):
        heard.append(told)
        return answer(*told)

    signal.signal(signal.SIGINT, hear)
    Path(os.environ[HELD], f"{os.getpid()}.held").touch()
    while not heard:
        time.sleep(0.01)


COUNTED = """
import os, signal, sys
_at, _after, _seen = {at}, {after}, 0

def _counted(event, arguments):
    global _seen
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if not writes and event not in ("os.mkdir", "os.rename", "mmap.__new__"):
        return
    _seen += 1
    if _seen == _at and _after:
        signal.setitimer(signal.ITIMER_PROF, _after)
    elif _seen == _at:
        os.kill(os.getpid(), signal.SIGKILL)

def begin():
    sys.dont_write_bytecode = True
    sys.addaudithook(_counted)

"""


def steps_of(code: str, *words: object) -> int:
    """How often `code` (Python, with `words` as arguments) makes, maps or renames something that it writes, once it has called `begin()`."""
    return int(_counted(code + "\nprint(_seen)", words, 0, 0).stdout.splitlines()[-1])


def cut_short(code: str, *words: object, at: int, after: float = 0) -> bool:
    """Whether it died as by kill -9: when it was about to take that step, or by the kernel `after` so much processor time of its own from then
    on. So a machine that is busy moves nothing."""
    return _counted(code, words, at, after).returncode != 0


def _counted(code: str, words: tuple[object, ...], at: int, after: float) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", COUNTED.format(at=at, after=after) + code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL, -signal.SIGPROF), done.stderr
    return done


def _suspend_launcher() -> None:
    """Stopped before this worker dies: it cannot see that until somebody lets it go on."""
    launcher = psutil.Process(os.getppid())
    launcher.suspend()
    while launcher.status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    Path(os.environ[PIDS], "launcher.pid").write_text(str(launcher.pid))


def main() -> None:
    """`python dying.py WORDS` is `past WORDS`; with what the launcher gives a worker it is that worker."""
    rank = os.environ.get("RANK")
    if rank is None:
        prepare()
        sys.argv[0] = "pastcli"
        runpy.run_module("pastcli", run_name="__main__", alter_sys=True)
        return
    if PIDS in os.environ:
        Path(os.environ[PIDS], f"{rank}.pid").write_text(str(os.getpid()))
    if "DYING" in os.environ and rank == os.environ["DYING_RANK"]:
        before = _suspend_launcher if "DYING_SUSPENDS" in os.environ else lambda: None
        _die_after(*os.environ["DYING"].split(), before)
    runpy.run_module(WORKER, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
