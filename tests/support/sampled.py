"""For `make coverage-sample`: of the tests of each file every second function, its first case alone."""

from __future__ import annotations


def pytest_collection_modifyitems(items):
    first = {item.nodeid.partition("[")[0]: item for item in reversed(items)}
    files = {}
    for item in reversed(first.values()):
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    items[:] = [item for tests in files.values() for item in tests[::2]]
