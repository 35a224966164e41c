"""Threads that wait for each other leave the processors to others where there are not enough for all."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pastcli.environment import cores

LOOK = "import os; from past_hf.waiting import wait_politely; wait_politely(); print(os.environ.get('GOMP_SPINCOUNT'))"
BUSY = "import time; print(flush=True)\nwhile True: pass"


def said(code=LOOK, **variables):
    without = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**without, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def busy_machine():
    """One program that computes on each processor, so that this holds whatever else the tests' machine does."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) for _ in range(cores())]
    for one in others:
        one.stdout.readline()
    time.sleep(0.05)
    yield
    for one in others:
        one.kill()
        one.communicate()


@pytest.mark.skipif(cores() < 2, reason="one thread waits for nobody")
def test_beside_other_work_threads_sleep_early_and_a_choice_of_the_users_stays(busy_machine):
    assert said() == "1000"
    assert said(GOMP_SPINCOUNT="77") == "77"
    assert said(OMP_WAIT_POLICY="active") == "None"
    assert said(OMP_NUM_THREADS="1") == "None"
    assert said(f"import sys; sys.modules['torch'] = None; {LOOK}") == "None"  # it has read the variable already


def test_with_a_processor_for_each_thread_nothing_is_changed(monkeypatch):
    from past_hf import company, waiting

    class Alone(company.Company):
        def __exit__(self, *_):
            self.others = 0.02

    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(waiting, "cores", lambda: 4)
    monkeypatch.setattr(waiting, "Company", Alone)
    waiting.wait_politely()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.setattr(Alone, "__exit__", lambda self, *_: setattr(self, "others", 0.25))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    waiting.wait_politely()
    assert "GOMP_SPINCOUNT" not in os.environ  # three threads and one other program on four processors
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    waiting.wait_politely()
    assert os.environ.pop("GOMP_SPINCOUNT") == "1000"


WATCHED = """
import ctypes, os
from past_llamacpp import {module}
real = ctypes.CDLL
def loaded(*words, **more):
    print(os.environ.get("GOMP_SPINCOUNT"))
    return real(*words, **more)
ctypes.CDLL = loaded
{module}.{load}()
"""


@pytest.mark.parametrize("module, load", [("native", "library"), ("ggml", "_cpu")])
def test_threads_of_llama_cpp_always_sleep_early(module, load):
    """Set before it is loaded. Beside two programs two threads took seconds for a token (tests/bench/bench_waiting.py)."""
    code = WATCHED.format(module=module, load=load)
    assert set(said(code).split()) == {"1000"}
    assert set(said(code, GOMP_SPINCOUNT="5").split()) == {"5"}


def test_what_others_take_is_counted_on_the_processors_that_this_process_may_use(busy_machine):
    from past_hf.company import Company

    with Company() as met:
        time.sleep(0.3)
    assert met.others > 0.5


def test_quiet_looks_before_it_loads_the_libraries():
    """In the order in which a command does it: a variable set after torch is loaded changes nothing."""
    code = (
        "import past_hf.waiting, sys\n"
        "past_hf.waiting.wait_politely = lambda: print('torch' in sys.modules)\n"
        "import past_hf.quiet\n"
        "sys.modules['datasets'] = sys.modules['transformers'] = None\n"
        "try: past_hf.quiet.quiet()\n"
        "except ImportError: pass"
    )
    assert said(code) == "False"
