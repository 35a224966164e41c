"""Hashes change when the thing does, and only then."""

from __future__ import annotations

import os
import time

import pytest

from pastcli import hashing
from pastcli.api import TensorSpec
from pastcli.hashing import hash_path, shapes_sha256


def test_a_small_file_is_hashed_whole(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    assert hash_path(file) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("where", [0, 1000, -1])
def test_a_large_file_is_sampled_and_says_so(tmp_path, monkeypatch, where):
    monkeypatch.setattr(hashing, "WHOLE", 1 << 20)
    data = bytearray(os.urandom(3 << 20))
    file = tmp_path / "f"
    file.write_bytes(data)
    before = hash_path(file)
    assert before.startswith("sampled:") and before == hash_path(file)
    data[where] ^= 1
    file.write_bytes(data)
    assert hash_path(file) != before
    file.write_bytes(data + b"x")
    assert hash_path(file) != before


def test_a_folder_s_hash_covers_names_and_contents_wherever_it_lies(tmp_path):
    for name in "ab":
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / os.fsdecode(b"caf\xe9")).write_text("1")
        (tmp_path / name / "x").write_text("2")
    first = hash_path(tmp_path / "a")
    assert first.startswith("tree:") and first == hash_path(tmp_path / "b")
    (tmp_path / "b" / ".lock").write_text("not part of it")
    assert first == hash_path(tmp_path / "b")
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "y")
    assert first != hash_path(tmp_path / "b")


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    began = time.perf_counter()
    assert hash_path(tmp_path).startswith("tree:")
    assert time.perf_counter() - began < 1


def test_the_layout_s_hash_ignores_order_and_type_but_not_shape():
    a, b = TensorSpec("a", (2, 3), "F32"), TensorSpec("b", (4,), "BF16")
    same = shapes_sha256([TensorSpec("b", (4,), "Q4_1"), a])
    assert shapes_sha256([a, b]) == same
    assert shapes_sha256([TensorSpec("a", (3, 2), "F32"), b]) != same
    assert shapes_sha256([TensorSpec("ab", (2, 3), "F32"), b]) != same
