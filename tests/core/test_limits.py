"""A container's share of the machine: what its control groups say, in every arrangement of theirs that people have."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pastcli import environment, limits

GB = 1 << 30


def tree(root, group, **files):
    """A machine's files; `__` in a name stands for a folder."""
    for name, text in {"proc/self/cgroup": group, **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return root


def test_version_2_the_least_of_all_groups_above_counts(tmp_path):
    pod = {
        "cpu.max": "400000 100000",
        "memory.max": 8 * GB,
        "memory.current": 5 * GB,
        "memory.stat": "anon 1\nactive_file 5\n",
    }
    box = {
        "cpu.max": "max 100000",
        "memory.max": 6 * GB,
        "memory.current": 2 * GB,
        "memory.stat": f"active_file {GB}\ninactive_file 7",
    }
    files = {f"sys__fs__cgroup__pod__{name}": text for name, text in pod.items()}
    files |= {f"sys__fs__cgroup__pod__box__{name}": text for name, text in box.items()}
    root = tree(tmp_path, "0::/pod/box\n", **files)
    assert limits.processors(root) == 4.0
    assert limits.memory(root) == (6 * GB, 3 * GB + 5)


def test_version_1_with_a_controller_of_each(tmp_path):
    cpu = {"cpu.cfs_quota_us": 150000, "cpu.cfs_period_us": 100000}
    held = {
        "memory.limit_in_bytes": 4 * GB,
        "memory.usage_in_bytes": 3 * GB,
        "memory.stat": f"active_file 1\ntotal_inactive_file {GB}\n",
    }
    files = {f"sys__fs__cgroup__cpu__docker__1__{name}": text for name, text in cpu.items()}
    files |= {f"sys__fs__cgroup__memory__docker__1__{name}": text for name, text in held.items()}
    group = "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n0::/\n"
    root = tree(tmp_path, group, **files)
    assert limits.processors(root) == 1.5 and limits.memory(root) == (4 * GB, 2 * GB)
    (root / "sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us").write_text("-1")
    assert limits.processors(root) == math.inf


def test_a_container_that_is_told_a_path_which_it_cannot_see_is_at_the_root(tmp_path):
    root = tree(tmp_path, "0::/../../kubepods/pod7\n", **{"sys__fs__cgroup__cpu.max": "200000 100000"})
    assert limits.processors(root) == 2.0


@pytest.mark.parametrize("group", ["", "0::/\n", "nonsense\n:::\n", "0::/gone/from/here\n"])
def test_without_limits_the_machine_is_ones_own(tmp_path, group):
    root = tree(tmp_path, group)
    assert limits.processors(root) == math.inf and limits.memory(root) == (math.inf, math.inf)
    assert limits.processors(tmp_path / "macos") == math.inf


@given(quota=st.text(max_size=30), most=st.text(max_size=30), now=st.text(max_size=12), stat=st.text(max_size=60))
def test_whatever_the_files_hold_is_a_limit_or_none(tmp_path_factory, quota, most, now, stat):
    names = {"cpu.max": quota, "memory.max": most, "memory.current": now, "memory.stat": stat}
    root = tmp_path_factory.mktemp("groups")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    for name, text in names.items():
        (root / "sys/fs/cgroup" / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    assert limits.processors(root) >= 0 and min(limits.memory(root)) >= 0


@pytest.mark.parametrize("share, cores", [(math.inf, 8), (64.0, 8), (2.0, 2), (1.5, 2), (0.1, 1), (0.0, 1)])
def test_cores_are_no_more_than_the_share_of_time(monkeypatch, share, cores):
    monkeypatch.setattr(environment, "bound_to", lambda: 8)
    monkeypatch.setattr(limits, "processors", lambda: share)
    assert environment.cores() == cores


def test_memory_is_no_more_than_the_container_may_take(monkeypatch):
    monkeypatch.setattr(limits, "memory", lambda: (3e6, 2e6))
    assert environment.memory() == (3e6, 2e6)
    monkeypatch.setattr(limits, "memory", lambda: (math.inf, math.inf))
    there, free = environment.memory()
    assert 1e8 < free <= there < 1e14


# ---------------------------------------------------------------- in a group of the kernel's own


@pytest.fixture
def grouped():
    """`grouped(words)`: a command in a control group with one processor's time and 3 GB; skipped where nobody may make one."""
    name, made = f"past-test-{uuid.uuid4().hex[:8]}", []
    top = Path("/sys/fs/cgroup")
    one = {
        "cpu": {"cpu.cfs_period_us": 100000, "cpu.cfs_quota_us": 100000},
        "memory": {"memory.limit_in_bytes": 3 * GB},
    }
    two = {"": {"cpu.max": "100000 100000", "memory.max": 3 * GB}}
    try:
        for controller, settings in (two if (top / "cgroup.controllers").exists() else one).items():
            (folder := top / controller / name).mkdir()
            made.append(folder)
            for file, value in settings.items():
                (folder / file).write_text(str(value))
    except OSError as error:
        for folder in made:
            folder.rmdir()
        pytest.skip(f"no control groups can be made here: {error}")

    def run(*words):
        enter = "; ".join(f"echo $$ > {folder}/cgroup.procs" for folder in made)
        without = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        command = ["sh", "-ec", f'{enter}; exec "$@"', "sh", sys.executable, *words]
        return subprocess.run(command, capture_output=True, text=True, env=without, check=True).stdout

    yield run
    for folder in made:
        folder.rmdir()


def test_in_a_container_past_counts_its_share_of_the_machine(grouped):
    found = {
        one["check"]: one["detail"]
        for one in json.loads(grouped("-m", "pastcli", "doctor", "--fast", "--json"))["findings"]
    }
    assert found["cpu"].startswith("1 core") and found["memory"].endswith(" GB free of 3.2 GB")
    shown = grouped(
        "-c",
        "import os; from past_hf.waiting import wait_politely; wait_politely(); print(os.environ['OMP_NUM_THREADS'])",
    )
    assert shown.strip() == "1" or environment.bound_to() == 1
