"""Files that are files: told from what only looks like one, without opening it."""

from __future__ import annotations

import errno
import functools
import os
import stat
from pathlib import Path


def regular(path: Path) -> Path:
    """`path`, unless something lies there that only looks like a file (see `oddity`): raises `OSError`."""
    what = oddity(path)
    if what:
        raise OSError(errno.EINVAL, f"it is {what}, not a file", str(path))
    return path


_ODD = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))

_KERNEL = frozenset("proc sysfs tracefs debugfs securityfs configfs cgroup cgroup2 bpf pstore binfmt_misc".split())
"""File systems whose files are made while they are read."""


def oddity(path: Path) -> str:
    """What lies at `path` where it is no file or folder; '' where it is. Found out without opening it: a pipe waits for somebody to
    write, a device has no end, what they give once is not there for the hash of an input, and a log of the kernel
    (/proc/kmsg) waits for ever though it calls itself a file of no bytes. Raises `OSError` where nothing is."""
    found = path.stat()
    for is_kind, kind in _ODD:
        if is_kind(found.st_mode):
            return kind
    made_by_kernel = stat.S_ISREG(found.st_mode) and found.st_dev in _kernel_devices()
    return "made by the kernel as it is read" if made_by_kernel else ""


@functools.cache
def _kernel_devices() -> frozenset[int]:
    """Device numbers of the file systems whose files are no files (on Linux)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    found = set()
    for fields in (line.split() for line in mounts):  # the number is the third, the kind the first after a dash
        if fields[fields.index("-") + 1] in _KERNEL:
            major, minor = fields[2].split(":")
            found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)
