"""`python WORDS` as a command of the server's starts it: from the server, if it runs such a program and the variables fit, else a new interpreter."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from forks_asked import VARIABLES, Asked, program_of, unlike


def main(folder: Path, real: str, words: list[str]) -> None:
    """Stand between who started this and the process that the server made: signals go there, its end comes back."""
    environment = dict(os.environ)
    if program_of(words) is None or unlike(json.loads((folder / VARIABLES).read_text()), environment):
        os.execv(real, [real, *words])
    asked = Asked(folder, words, environment, os.getcwd(), [0, 1, 2])

    def pass_on(number: int, _) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ends at this very moment
            os.kill(asked.pid, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    code = asked.code()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.executable, sys.argv[2:])
