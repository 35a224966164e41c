"""The server of `forks`: it has imported what commands import of others, and forks for each of them.

Of `pastcli` it has what every command imports before it does anything else, and no more: what a command forgets to import is missed.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
import weakref
from pathlib import Path

import dying
from forks_asked import PYTHON, SOCKET, program_of

BEGINNING = ("pastcli.cli", "pastcli.commands._options")
"""What a command begins with, whichever it is: `tests/house/test_forks.py` holds them to it."""


def serve(folder: Path, counted: bool = False) -> None:
    """One loop for all commands, which may run side by side: fork what a client asks for, tell it how that ended, and end what a
    client hangs up on. If lines are to be counted, each command imports the whole of `pastcli` itself."""
    load(() if counted else BEGINNING)
    gc.collect()
    gc.freeze()  # a child that looks for garbage among these would copy the pages that they lie in
    in_huge_pages()
    standing_in = folder / PYTHON
    script = Path(__file__).with_name("forks_python.py")
    standing_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{script}" "{folder}" "$@"\n')
    standing_in.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as waiting:
        server.bind(str(folder / SOCKET))
        server.listen(128)
        waiting.register(server, selectors.EVENT_READ)
        os.write(1, json.dumps(dict(os.environ)).encode() + b"\n")
        while True:
            for key, _ in waiting.select():
                if key.fileobj is server:
                    begin(server.accept()[0], waiting, str(standing_in))
                elif waiting.get_map().get(key.fd) == key:  # a command's end and its client's are often seen at once
                    end(key, waiting)


def in_huge_pages() -> None:
    """Ask the kernel to keep what lies in memory by now in pages of 2 MiB, if it can: each fork copies a table of all pages."""
    madvise, collapse, size = ctypes.CDLL(None).madvise, 25, 1 << 21
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, _, _, file, *name = line.split()
        if rights.startswith("rw") and file == "0" and name != ["[stack]"]:
            first, last = (int(address, 16) for address in place.split("-"))
            first, last = -(-first // size) * size, last // size * size
            if first < last:
                madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), collapse)


def begin(client: socket.socket, waiting: selectors.BaseSelector, python: str) -> None:
    """Fork the command that a client asks for, with nothing of the other commands' held open; the child does not return."""
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    told = client.makefile().readline()
    if not told:  # it was killed before it had asked
        client.close()
        return
    pid = os.fork()
    if pid == 0:
        for key in list(waiting.get_map().values()):
            os.close(key.fd) if isinstance(key.fileobj, int) else key.fileobj.close()
        waiting.close()
        client.close()
        command(python=python, streams=streams, **json.loads(told))
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(OSError):  # of a client that is gone `end` hears
        client.sendall(f"{pid}\n".encode())
    ended = os.pidfd_open(pid)
    for one in (client, ended):
        waiting.register(one, selectors.EVENT_READ, (pid, client, ended))


def end(key: selectors.SelectorKey, waiting: selectors.BaseSelector) -> None:
    """A command has ended, or its client has hung up."""
    pid, client, ended = key.data
    if key.fileobj is client:
        os.kill(pid, signal.SIGKILL)
    for one in (client, ended):
        waiting.unregister(one)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(ended)
    with client, contextlib.suppress(OSError):
        client.sendall(f"{code}\n".encode())


def load(beginning: tuple[str, ...]) -> None:
    """What the commands import of others, and their `beginning`; no thread may run when this is over, since a fork would lose it.

    (pyarrow's allocator has one, and starts it again in the child.)
    """
    import accelerate.commands.config  # noqa: F401
    import blake3  # noqa: F401
    import datasets  # noqa: F401
    import gguf  # noqa: F401
    import jsonschema  # noqa: F401
    import openai  # noqa: F401
    import peft  # noqa: F401
    import rich.console
    import rich.live
    import rich.progress
    import rich.table  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch.distributed.run  # noqa: F401
    import transformers
    import trl
    import typer.main
    import typer.rich_utils  # noqa: F401

    for name in ("AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM", "PreTrainedTokenizerFast", "Trainer"):
        getattr(transformers, name)
    for name in ("GRPOTrainer", "GRPOConfig", "SFTTrainer", "SFTConfig"):
        getattr(trl, name)
    mine = own_modules()
    if mine:
        raise RuntimeError(f"{mine} must be imported by each command anew")
    with contextlib.suppress(ImportError, AttributeError):  # not every release of transformers has it
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping(
            "llama"
        )  # a thousand patterns, made with the first model: a third of a tiny training
    for name in beginning:
        importlib.import_module(name)
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False  # what is to be done at the end for these libraries takes longer than most commands
    threads = [Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
    if len([name for name in threads if name != "jemalloc_bg_thd"]) > 1:
        raise RuntimeError(f"threads run after the imports: {threads}")


def own_modules() -> set[str]:
    """Those of `pastcli` and its plugins that are imported."""
    return {name for name in sys.modules if name.split(".")[0] == "pastcli" or name.startswith("past_")}


def command(words: list[str], environment: dict[str, str], cwd: str, streams: list[int], python: str) -> None:
    """Become `python WORDS`."""
    import runpy

    module, rest = program_of(words)
    place(streams, unbuffered=words[0] == "-u")
    mine = {sys.path[0], *os.environ["PYTHONPATH"].split(os.pathsep)}
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [module, *rest]
    sys.executable = python
    theirs = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [cwd, *theirs, *(place for place in sys.path if place not in mine)]
    if "COVERAGE_PROCESS_CONFIG" in environment:
        import coverage

        coverage.process_startup(force=True)
    if module == "pastcli" and dying.WANTED & environment.keys():
        dying.prepare()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            leave(end.code or 0)
        raise
    leave(0)


def place(streams: list[int], unbuffered: bool) -> None:
    """Have these as the standard ones. Opened anew: what the server had there remembers whether its own file could be sought in."""
    for number, (stream, name) in enumerate(zip(streams, ("stdin", "stdout", "stderr"))):
        os.dup2(stream, number)
        os.close(stream)
        before = getattr(sys, name)
        how = dict(encoding=before.encoding, errors=before.errors, closefd=False)
        opened = open(number, "r" if number == 0 else "w", buffering=1 if number == 2 else -1, **how)  # noqa: SIM115 - open till the end
        if unbuffered and number:
            opened.reconfigure(write_through=True)
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)


def leave(code: int) -> None:
    """As the interpreter does: threads, exit functions, streams."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2:] == ["counted"])
