"""Large files go to the disk while they are written; nothing depends on it, and no closed file is touched."""

from __future__ import annotations

import os
import threading

import pytest

from pastcli import write_back


@pytest.fixture
def calls(monkeypatch):
    """(descriptor, inode then) of every call to the kernel, and what to wait for to see one."""
    found, seen = [], threading.Condition()

    def call(fd, *_):
        with seen:
            found.append((fd, os.fstat(fd).st_ino))
            seen.notify_all()
        return -1  # an error changes nothing

    monkeypatch.setattr(write_back, "_sync_file_range", lambda: call)
    return found, seen


def test_a_file_is_sent_while_it_is_open_and_once_more_before_it_is_closed(tmp_path, calls):
    found, seen = calls
    with open(tmp_path / "one", "wb") as one, open(tmp_path / "two", "wb") as two:
        for file in (one, two):
            write_back.start(file.fileno())
        fds = {file.fileno(): os.fstat(file.fileno()).st_ino for file in (one, two)}
        with seen:
            assert seen.wait_for(lambda: {fd for fd, _ in found} == {*fds}, timeout=60)
        write_back.stop(one.fileno())
        sent = len(found)
        with seen:
            assert seen.wait_for(lambda: len(found) > sent + 2, timeout=60)
        assert {fd for fd, _ in found[sent + 1 :]} == {two.fileno()}
        write_back.stop(two.fileno())
        write_back.stop(two.fileno())  # closing twice is harmless
    assert set(found) == {*fds.items()} and not write_back._files


def test_the_thread_ends_with_its_last_file_and_begins_again_for_another(tmp_path, calls):
    for _ in range(2):
        with open(tmp_path / "file", "wb") as file:
            write_back.start(file.fileno())
            thread = write_back._thread
            write_back.stop(file.fileno())
        if thread is not None:
            thread.join(60)
            assert not thread.is_alive()


def test_without_such_a_call_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(write_back, "_sync_file_range", lambda: None)
    before = threading.active_count()
    with open(tmp_path / "file", "wb") as file:
        write_back.start(file.fileno())
        assert file.fileno() not in write_back._files and threading.active_count() <= before
        write_back.stop(file.fileno())
