"""`past` as a process of its own without loading torch, transformers and TRL anew each time: their import is most of a tiny training.

One server for each pytest process has imported the libraries (never `pastcli` or a plugin of it) and forks for every command.
The child has its own arguments, environment, folder and files, imports `pastcli` from the beginning, and ends as any interpreter ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HARMLESS = ("PAST_", "PYTEST_", "COLUMNS", "PYTHONPATH", "_TYPER", "TENSORBOARD_")
"""Variables that no library reads while it is imported: with any other difference a command starts from nothing."""

AS_PAST_SETS_THEM = {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "OPENBLAS_NUM_THREADS": "1"}


class Forks:
    """The server, and `run` to have a command done by it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="past-forks-"))
        self.environment = dict(os.environ)
        words = [sys.executable, "-m", "forks", str(self.folder / "socket")]
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**self.environment, **AS_PAST_SETS_THEM, "PYTHONPATH": path}
        self.process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=self.folder
        )
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError("the server of tests/support/forks.py did not start")
        self.loaded = json.loads(told)

    def fits(self, environment: dict[str, str]) -> bool:
        """Whether the libraries would have been imported alike under these variables.

        Some set variables themselves when they are imported (torch names a cache): the test's own process may have come by these as well.
        """
        return all(
            environment.get(name) in (self.environment.get(name), self.loaded.get(name))
            for name in self.environment.keys() | environment.keys()
            if not name.startswith(HARMLESS)
        )

    def run(self, words: list[str], environment: dict[str, str], cwd: str, timeout: float):
        """Like `subprocess.run(..., capture_output=True, text=True)` of `python -m pastcli` with these words."""
        with tempfile.TemporaryDirectory(dir=self.folder) as here:
            files = [os.path.join(here, name) for name in ("stdout", "stderr")]
            with socket.socket(socket.AF_UNIX) as server:
                server.settimeout(timeout)
                server.connect(str(self.folder / "socket"))
                asked = {"words": words, "environment": environment, "cwd": cwd, "files": files}
                server.sendall(json.dumps(asked).encode() + b"\n")
                answers = server.makefile()
                pid = int(answers.readline())
                try:
                    code = int(answers.readline())
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(words, timeout) from None
            out, err = (Path(file).read_bytes().decode() for file in files)
        return subprocess.CompletedProcess(words, code, out, err)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def serve(address: str) -> None:
    """One handler for each command, which waits for it and says how it ended; commands may run side by side."""
    load()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        os.write(1, json.dumps(dict(os.environ)).encode() + b"\n")
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                break
            client.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    with client:
        asked = json.loads(client.makefile().readline())
        pid = os.fork()
        if pid:
            client.sendall(f"{pid}\n".encode())
            client.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
            os._exit(0)
    command(**asked)


def load() -> None:
    """What the commands import of others; no thread may run when this is over, since a fork would lose it.

    (pyarrow's allocator has one, and starts it again in the child.)
    """
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import safetensors.torch  # noqa: F401
    import transformers
    import trl

    for name in ("AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM", "PreTrainedTokenizerFast", "Trainer"):
        getattr(transformers, name)
    for name in ("GRPOTrainer", "GRPOConfig", "SFTTrainer", "SFTConfig"):
        getattr(trl, name)
    threads = [Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
    if len([name for name in threads if name != "jemalloc_bg_thd"]) > 1:
        raise RuntimeError(f"threads run after the imports: {threads}")
    mine = [name for name in sys.modules if name.split(".")[0] == "pastcli" or name.startswith("past_")]
    if mine:
        raise RuntimeError(f"{mine} must be imported by each command anew")


def command(words: list[str], environment: dict[str, str], cwd: str, files: list[str]) -> None:
    """Become `python -m pastcli WORDS`."""
    import runpy

    for number, file in enumerate(files, 1):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    mine = {sys.path[0], *os.environ["PYTHONPATH"].split(os.pathsep)}
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["pastcli", *words]
    theirs = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [cwd, *theirs, *(place for place in sys.path if place not in mine)]
    runpy.run_module("pastcli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(sys.argv[1])
