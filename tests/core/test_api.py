"""`pastcli.api` gives each of its names from the module that defines it, and imports that module only then."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from pastcli import api


def test_every_name_is_the_one_that_its_module_defines():
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    places = {
        alias.name: f"pastcli.api.{node.module}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert places.keys() == set(api.__all__)
    assert set(places.values()) == {f"pastcli.api.{module}" for module in api._MODULES}
    for name, module in places.items():
        assert getattr(api, name) is getattr(import_module(module), name), name


def test_a_name_it_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Mapping'"):
        _ = api.Mapping
    with pytest.raises(ImportError):
        from pastcli.api import Nonesuch  # noqa: F401


def test_a_module_is_imported_when_a_name_in_it_is_asked_for():
    script = "import sys; from pastcli.api import Checkpoint; print(*(m for m in sys.modules if m.startswith('pastcli.api.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pastcli.api.checkpoints"]
