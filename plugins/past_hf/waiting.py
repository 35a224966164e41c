"""How the threads of torch wait for each other beside other work.

A layer is some thirty parallel regions of OpenMP, and a thread that is done with its share of one waits in a busy loop (libgomp: 300,000 turns)
before it sleeps. With a processor for each thread that is the fastest way. Where something else wants one of the processors, the
waiting threads keep it from the one that they wait for: a pass of SmolLM2-135M takes more than twice as long beside one busy
program, and two thirds of that if they sleep early, which costs about a tenth where nothing else runs (tests/bench/bench_waiting.py). libgomp
itself waits briefly when it has started more threads than there are processors; it cannot know of other programs.
"""

from __future__ import annotations

import os
import sys
import time

from pastcli.environment import bound_to, cores, let_threads_sleep

from .company import Company

LOOK = 0.1
"""Seconds for which the processors are looked at: ten ticks of the kernel's clock."""

SHARED = 0.15
"""Processors that others must keep busy to count. From about an eighth of one on, kept busy all the time, sleeping early pays by the same bench."""


def wait_politely() -> None:
    """Before torch is loaded: give it no more threads than its container has processors' time, and let them sleep early if they will
    not have a processor each. What the user set stays."""
    if "torch" in sys.modules:
        return
    if cores() < bound_to():  # torch counts the processors of the machine, and would start a thread for each
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdecimal() else cores()
    if threads < 2:
        return
    with Company() as company:
        time.sleep(LOOK)
    if threads + company.others * cores() > cores() + SHARED:
        let_threads_sleep()
