"""Hashes change when the thing does, and only then."""

from __future__ import annotations

import os
import time

import pytest

from pastcli import cache, hashing
from pastcli.api import TensorSpec
from pastcli.hashing import hash_path, shapes_sha256


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PAST_HOME", str(tmp_path_factory.mktemp("home")))


def test_a_file_s_hash_is_blake3_of_its_bytes(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    assert hash_path(file) == "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


@pytest.mark.parametrize("where", [0, 70_000, 12_345_678, (70 << 20) - 1])
def test_one_bit_anywhere_in_a_large_file_changes_its_hash(tmp_path, where):
    """Of the packaged model 216 of 272 tensors used to lie between the samples."""
    file = tmp_path / "f"
    with open(file, "wb") as handle:
        handle.truncate(70 << 20)
    before = hash_path(file)
    with open(file, "r+b") as handle:
        handle.seek(where)
        handle.write(b"\1")
    assert hash_path(file) != before


def test_a_settled_file_is_read_once(tmp_path, monkeypatch):
    file = tmp_path / "f"
    file.write_bytes(os.urandom(2 << 20))
    first = hash_path(file)
    reads = []
    read = hashing._read
    monkeypatch.setattr(hashing, "_read", lambda *words: reads.append(words) or read(*words))
    assert hash_path(file) == first and len(reads) == 1, "written a moment ago: not remembered yet"
    monkeypatch.setattr(hashing, "SETTLED", -1.0)
    assert hash_path(file) == first and len(reads) == 2
    assert hash_path(file) == first and len(reads) == 2, "remembered now"


def test_a_change_is_seen_although_size_and_times_are_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "SETTLED", -1.0)
    file = tmp_path / "f"
    file.write_bytes(bytes(2 << 20))
    first, stat = hash_path(file), file.stat()
    time.sleep(0.02)
    with open(file, "r+b") as handle:
        handle.seek(1 << 20)
        handle.write(b"x")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_mtime_ns == stat.st_mtime_ns and hash_path(file) != first


def test_a_damaged_or_unwritable_memory_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "SETTLED", -1.0)
    file = tmp_path / "f"
    file.write_bytes(bytes(2 << 20))
    first = hash_path(file)
    for kept in (cache.home() / "digests").iterdir():
        kept.write_bytes(b"\xff half a digest")
    assert hash_path(file) == first
    (tmp_path / "no-folder").write_text("a file where the cache should be")
    monkeypatch.setenv("PAST_HOME", str(tmp_path / "no-folder"))
    assert hash_path(file) == first


def test_a_split_gguf_is_hashed_with_all_its_parts(tmp_path):
    parts = [tmp_path / f"m-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    for part in parts:
        part.write_bytes(b"GGUF" + part.name.encode())
    before = hash_path(parts[0])
    parts[2].write_bytes(b"GGUF, other weights")
    assert hash_path(parts[0]) != before
    parts[2].unlink()
    assert hash_path(parts[0]) != before


def test_a_folder_s_hash_covers_names_and_contents_wherever_it_lies(tmp_path):
    for name in "ab":
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / os.fsdecode(b"caf\xe9")).write_text("1")
        (tmp_path / name / "x").write_text("2")
    first = hash_path(tmp_path / "a")
    assert first.startswith("blake3-tree:") and first == hash_path(tmp_path / "b")
    (tmp_path / "b" / ".lock").write_text("not part of it")
    assert first == hash_path(tmp_path / "b")
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "y")
    assert first != hash_path(tmp_path / "b")


def test_large_files_read_side_by_side_have_the_hash_of_files_read_in_turn(tmp_path, monkeypatch):
    for name in "abcde":
        (tmp_path / name).write_bytes(os.urandom((1 << 20) + ord(name)))
    (tmp_path / "small").write_bytes(b"not worth a thread")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    found, alone, read = [], [], hashing._read
    monkeypatch.setattr(hashing, "_read", lambda file, by_one: alone.append(by_one) or read(file, by_one))
    for cores in (1, 2, 5, 16):
        monkeypatch.setattr(hashing, "cores", lambda cores=cores: cores)
        found.append(hash_path(tmp_path))
        assert all(alone) == (cores in (2, 5)), "by one each exactly where there is a file for every core"
        alone.clear()
    assert len(set(found)) == 1
    monkeypatch.setattr(hashing, "cores", lambda: 2)
    (tmp_path / "e").write_bytes(bytes(1 << 20))
    assert hash_path(tmp_path) != found[0]


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    began = time.perf_counter()
    assert hash_path(tmp_path).startswith("blake3-tree:")
    assert time.perf_counter() - began < 1


def test_the_layout_s_hash_ignores_order_and_type_but_not_shape():
    a, b = TensorSpec("a", (2, 3), "F32"), TensorSpec("b", (4,), "BF16")
    same = shapes_sha256([TensorSpec("b", (4,), "Q4_1"), a])
    assert shapes_sha256([a, b]) == same
    assert shapes_sha256([TensorSpec("a", (3, 2), "F32"), b]) != same
    assert shapes_sha256([TensorSpec("ab", (2, 3), "F32"), b]) != same


def hashed_then_renamed(made, place, monkeypatch):
    """The digest of `made`, now at `place`, and what is read for a hash from then on."""
    digest = hash_path(made)
    made.rename(place)
    hashing.renamed(place)
    reads, read = [], hashing._read
    monkeypatch.setattr(hashing, "_read", lambda *words: reads.append(words) or read(*words))
    return digest, reads


def test_what_was_read_before_it_was_renamed_is_not_read_again(tmp_path, monkeypatch):
    """The output of a command is the next one's input: a skill of four gigabytes was read once more for its hash."""
    made, place = tmp_path / "made", tmp_path / "place"
    made.write_bytes(os.urandom(2 << 20))
    os.utime(made, ns=(1_700_000_000_123_456_789,) * 2)  # its last byte was written a while ago
    digest, reads = hashed_then_renamed(made, place, monkeypatch)
    monkeypatch.setattr(hashing, "_read_here", {})
    assert hash_path(place) == digest and not reads
    with open(place, "r+b") as handle:
        handle.write(b"changed")
    assert hash_path(place) != digest and len(reads) == 1


@pytest.mark.parametrize("fine", [True, False])
def test_what_was_written_as_it_was_renamed_is_read_again(tmp_path, monkeypatch, fine):
    """Where a change since could have the same time stamp: right after writing, or by stamps of whole seconds."""
    made, place = tmp_path / "made", tmp_path / "place"
    made.write_bytes(os.urandom(2 << 20))
    if not fine:
        os.utime(made, ns=(1_700_000_000_000_000_000,) * 2)
    else:
        monkeypatch.setattr(hashing, "FINE", 1e9)
    digest, reads = hashed_then_renamed(made, place, monkeypatch)
    assert hash_path(place) == digest and len(reads) == 1


def test_the_output_of_a_command_is_not_hashed_again_by_the_next(past, workspace, monkeypatch):
    from vectors_tools import moved, weights, write_model

    base = weights(hidden=128, vocab=2000)
    write_model(workspace / "sft", base, vocab=2000)
    write_model(workspace / "rl", moved(base, 1, 1e-3), vocab=2000)
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "v.safetensors")
    state = (workspace / "v.safetensors").stat()
    known = cache.recall("digests", hashing._key(state))
    assert known == "" or f"blake3:{known}" == hash_path(workspace / "v.safetensors")
    fine = state.st_ctime - state.st_mtime > hashing.FINE and state.st_mtime_ns % 1_000_000_000
    assert bool(known) == bool(fine)
