"""`past` as a process of its own without loading torch, transformers and TRL anew each time: their import is most of a tiny training.

One server for each pytest process has imported the libraries (never `pastcli` or a plugin of it) and forks for every command.
The child has its own arguments, environment, folder and streams, imports `pastcli` from the beginning, and ends as any interpreter ends, but that
it does not take apart the modules that it got from the server: that alone took longer than a `past runs list`.
What a command itself starts by `sys.executable -m pastcli`, as a study does, comes from the same server: it finds `launch` there.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path

HARMLESS = (
    "PAST_",
    "PYTEST_",
    "COLUMNS",
    "LINES",
    "PYTHONPATH",
    "TENSORBOARD_",
    "TORCHINDUCTOR_CACHE_DIR",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "COVERAGE_",
    "DYING",
    "INTERRUPTING",
    "STILLS",
    "_",
)
"""Variables that no library reads while it is imported: with any other difference a command starts from nothing."""

AS_PAST_SETS_THEM = {
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENBLAS_THREAD_TIMEOUT": "14",
    "GOMP_SPINCOUNT": "1000",
}
"""For what a command starts: it comes with these."""

SOCKET, VARIABLES, PYTHON = "socket", "variables.json", "python"
"""In the server's folder: where it listens, what it was started and loaded with, and what stands for the interpreter."""


class Forks:
    """The server, and `begun` to start a command by it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="past-forks-"))
        environment = dict(os.environ)
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "forks", "serve", str(self.folder)],
            env={**uncounted(environment), **AS_PAST_SETS_THEM, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=self.folder,
        )
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError("the server of tests/support/forks.py did not start")
        self.variables = [environment, json.loads(told)]
        (self.folder / VARIABLES).write_text(json.dumps(self.variables))

    def fits(self, environment: dict[str, str]) -> bool:
        return fits(self.variables, environment)

    @contextlib.contextmanager
    def begun(self, words: list[str], environment: dict[str, str], cwd: str, timeout: float):
        """A command under way, killed at the end of the block if it still runs."""
        with tempfile.TemporaryDirectory(dir=self.folder) as here:
            files = [Path(here, name) for name in ("stdout", "stderr")]
            with open(os.devnull, "rb") as nothing, open(files[0], "wb") as out, open(files[1], "wb") as err:
                asked = Asked(self.folder, words, environment, cwd, [one.fileno() for one in (nothing, out, err)])
            with contextlib.closing(asked):
                command = Begun(words, asked, files, timeout)
                yield command
                if not command.ended:
                    command.kill()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def uncounted(environment: dict[str, str]) -> dict[str, str]:
    """Without what makes coverage count lines from an interpreter's start: each command begins that for itself."""
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}


def fits(variables: list[dict[str, str]], environment: dict[str, str]) -> bool:
    """Whether the libraries would have been imported alike under these variables.

    Some set variables themselves when they are imported (torch names a cache): whoever asks may have come by these as well.
    """
    before, loaded = variables
    return all(
        environment.get(name) in (before.get(name), loaded.get(name))
        for name in before.keys() | environment.keys()
        if not name.startswith(HARMLESS)
    )


class Asked:
    """A command that the server was asked for: `pid`, and `code()` once it has ended. To hang up kills it."""

    def __init__(self, folder: Path, words, environment, cwd, streams: list[int]) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(folder / SOCKET))
        socket.send_fds(self.socket, [b"!"], streams)
        asked = {"words": words, "environment": environment, "cwd": cwd}
        self.socket.sendall(json.dumps(asked).encode() + b"\n")
        self.answers = self.socket.makefile()
        self.pid = int(self.answers.readline())

    def code(self, timeout: float | None = None) -> int:
        self.socket.settimeout(timeout)
        return int(self.answers.readline())

    def close(self) -> None:
        self.answers.close()
        self.socket.close()


class Begun:
    """One command for a test: `pid` to send signals to, `wait` for its end and what it said."""

    def __init__(self, words: list[str], asked: Asked, files: list[Path], timeout: float) -> None:
        self.pid, self._words, self._asked, self._files, self._timeout = asked.pid, words, asked, files, timeout
        self.ended = False

    def kill(self) -> None:
        """kill -9, and gone when this returns."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self):
        try:
            code = self._asked.code(self._timeout)
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            self.ended = True
            raise subprocess.TimeoutExpired(self._words, self._timeout) from None
        self.ended = True
        out, err = (file.read_bytes().decode() for file in self._files)
        return subprocess.CompletedProcess(self._words, code, out, err)


class Cold:
    """The same of a new interpreter."""

    def __init__(self, process: subprocess.Popen, timeout: float) -> None:
        self.pid, self._process, self._timeout = process.pid, process, timeout

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def wait(self):
        out, err = self._process.communicate(timeout=self._timeout)
        return subprocess.CompletedProcess(self._process.args, self._process.returncode, out, err)


@contextlib.contextmanager
def cold(words: list[str], environment: dict[str, str], cwd: str, timeout: float):
    """`Forks.begun` where the server is of no use."""
    place = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    program = (
        [str(Path(__file__).with_name("dying.py"))]
        if {"DYING", "INTERRUPTING", "STILLS"} & environment.keys()
        else ["-m", "pastcli"]
    )
    with subprocess.Popen([sys.executable, *program, *words], env=environment, cwd=cwd, **place) as process:
        try:
            yield Cold(process, timeout)
        finally:
            process.kill()


# ---------------------------------------------------------------- the server


def serve(folder: Path) -> None:
    """One loop for all commands, which may run side by side: fork what a client asks for, tell it how that ended, and end what a
    client hangs up on."""
    load()
    gc.collect()
    gc.freeze()  # a child that looks for garbage among these would copy the pages that they lie in
    standing_in = folder / PYTHON
    standing_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{__file__}" launch "{folder}" "$@"\n')
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


def load() -> None:
    """What the commands import of others; no thread may run when this is over, since a fork would lose it.

    (pyarrow's allocator has one, and starts it again in the child.)
    """
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
    import transformers
    import trl
    import typer.main
    import typer.rich_utils  # noqa: F401

    for name in ("AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM", "PreTrainedTokenizerFast", "Trainer"):
        getattr(transformers, name)
    for name in ("GRPOTrainer", "GRPOConfig", "SFTTrainer", "SFTConfig"):
        getattr(trl, name)
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False  # what is to be done at the end for these libraries takes longer than most commands
    threads = [Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
    if len([name for name in threads if name != "jemalloc_bg_thd"]) > 1:
        raise RuntimeError(f"threads run after the imports: {threads}")
    mine = [name for name in sys.modules if name.split(".")[0] == "pastcli" or name.startswith("past_")]
    if mine:
        raise RuntimeError(f"{mine} must be imported by each command anew")


def command(words: list[str], environment: dict[str, str], cwd: str, streams: list[int], python: str) -> None:
    """Become `python -m pastcli WORDS`."""
    import runpy

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, name)
        how = dict(encoding=before.encoding, errors=before.errors, closefd=False)
        # anew: what the server had there remembers whether its own file could be sought in
        opened = open(number, "r" if number == 0 else "w", buffering=1 if name == "stderr" else -1, **how)  # noqa: SIM115 - open till the end
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)
    import dying  # of the server's own path, which ends here

    mine = {sys.path[0], *os.environ["PYTHONPATH"].split(os.pathsep)}
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["pastcli", *words]
    sys.executable = python
    theirs = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [cwd, *theirs, *(place for place in sys.path if place not in mine)]
    if "COVERAGE_PROCESS_CONFIG" in environment:
        import coverage

        coverage.process_startup(force=True)
    if {"DYING", "INTERRUPTING", "STILLS"} & environment.keys():
        dying.prepare()
    try:
        runpy.run_module("pastcli", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            leave(end.code or 0)
        raise
    leave(0)


def leave(code: int) -> None:
    """As the interpreter does: threads, exit functions, streams."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# ---------------------------------------------------------------- what a command starts by `sys.executable`


def launch(folder: Path, real: str, words: list[str]) -> None:
    """Be `python WORDS`: from the server if that is a `past` which fits, else in a new interpreter."""
    if words[:2] != ["-m", "pastcli"] or not fits(json.loads((folder / VARIABLES).read_text()), dict(os.environ)):
        os.execv(real, [real, *words])
    asked = Asked(folder, words[2:], dict(os.environ), os.getcwd(), [0, 1, 2])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(asked.pid, number))
    code = asked.code()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        launch(Path(sys.argv[2]), sys.executable, sys.argv[3:])
