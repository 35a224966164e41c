"""`past` as a process of its own without loading torch, transformers and TRL anew each time: their import is most of a tiny training.

One server for each pytest process (`forks_server`) has imported the libraries and forks for every command. The child has its own arguments,
environment, folder and streams, imports what its command needs of `pastcli`, and ends as any interpreter ends, but that it does not take
apart the modules that it got from the server: that alone took longer than a `past runs list`.
What a command itself starts by `sys.executable -m`, as a study and a training in several processes do, comes from the same server:
`python` stands there for the interpreter (`forks_python`). With PYTEST_COLD set everything starts from nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import dying
from forks_asked import PYTHON, VARIABLES, Asked, unlike

AS_PAST_SETS_THEM = {
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENBLAS_THREAD_TIMEOUT": "14",
    "GOMP_SPINCOUNT": "1000",
}
"""For what a command starts: it comes with these."""


class Forks:
    """The server, and `begun` to start a command by it. `python` is what stands for the interpreter."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="past-forks-"))
        self.python = self.folder / PYTHON
        environment = dict(os.environ)
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        counted = ["counted"] if any(name.startswith("COVERAGE_") for name in environment) else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "forks_server", str(self.folder), *counted],
            env={**uncounted(environment), **AS_PAST_SETS_THEM, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=self.folder,
        )
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError("the server of tests/support/forks_server.py did not start")
        self.variables = [environment, json.loads(told)]
        (self.folder / VARIABLES).write_text(json.dumps(self.variables))

    def unlike(self, environment: dict[str, str]) -> set[str]:
        """The variables for which a command starts from nothing; none: it is forked."""
        return unlike(self.variables, environment)

    @contextlib.contextmanager
    def begun(self, words: list[str], environment: dict[str, str], cwd: str, timeout: float):
        """A command under way, killed at the end of the block if it still runs."""
        with tempfile.TemporaryDirectory(dir=self.folder) as here:
            files = [Path(here, name) for name in ("stdout", "stderr")]
            with open(os.devnull, "rb") as nothing, open(files[0], "wb") as out, open(files[1], "wb") as err:
                streams = [one.fileno() for one in (nothing, out, err)]
                asked = Asked(self.folder, ["-m", "pastcli", *words], environment, cwd, streams)
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
    program = [str(Path(__file__).with_name("dying.py"))] if dying.WANTED & environment.keys() else ["-m", "pastcli"]
    with subprocess.Popen([sys.executable, *program, *words], env=environment, cwd=cwd, **place) as process:
        try:
            yield Cold(process, timeout)
        finally:
            process.kill()
