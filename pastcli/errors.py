"""The one error type of the house, and its few children.

Commands and the core raise these and never catch them; `cli.main` alone turns one into a line of text,
a hint and an exit code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class PastError(Exception):
    """Something the user can understand and mend: one line what, one line how (exit code 1)."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint


def reason(error: Exception) -> str:
    """Why a file could not be read, as one says it: no error number, no path a second time, no name of a codec."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 (byte {error.start})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)[:120]


SAID = 300
"""Characters of what strange code says when it fails that are passed on: some says all that it was given."""


def said(error: BaseException) -> str:
    """An exception of strange code in one short line, its type first."""
    return f"{type(error).__name__}: {' '.join(str(error)[: 4 * SAID].split())[:SAID]}"


class UsageError(PastError):
    """Wrong flags, configuration or input that was never usable (exit code 2)."""

    exit_code = 2


class MismatchError(PastError):
    """Artefacts that do not fit together: another architecture, a missing tensor (exit code 3)."""

    exit_code = 3


class NoArithmeticError(MismatchError):
    """Weights that nothing is added to here, though other programs may compute with them: of an unknown architecture, or quantised."""


class GateError(PastError):
    """A threshold the user set was not met (exit code 4)."""

    exit_code = 4


class FullDisk(PastError):
    """No room left, on a disk or in a quota: the message names the folder, the hint what goes on once there is room (exit code 1)."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it is handled: it ends a command as Ctrl-C does, but for the exit code."""


class Interrupted(PastError):
    """Ctrl-C or SIGTERM; the hint says how to continue (exit code 130 or 143, as a shell would give)."""

    exit_code = 130

    @classmethod
    def by(cls, stop: BaseException, hint: str | None = None) -> Interrupted:
        """What to say of a `KeyboardInterrupt`, or of what a stage inside another said already."""
        terminated = isinstance(stop, Terminated) or getattr(stop, "exit_code", 0) == 143
        told = cls("terminated" if terminated else "interrupted", hint)
        told.exit_code = 143 if terminated else cls.exit_code
        return told


class ContextOverflow(PastError):
    """A prompt longer than the model's context window; raised by chat backends, caught by the agent loop."""


PASSING = (KeyboardInterrupt, GeneratorExit)
"""What ends somebody else's code and is none of its doing."""

CRASHES = BaseException
"""What somebody else's code can end in, `PASSING` apart: a reward, a tool, a check, a judge. `sys.exit()` in one would end the
command with exit code 0, as if all had been done; a coroutine that was cancelled is no `Exception` either."""


@contextmanager
def crashes_of(part: str, hint: str = "mend it, and run again") -> Iterator[None]:
    """A crash of somebody else's code as one line that names the part: `PastError`. Errors of ours pass."""
    try:
        yield
    except (PastError, *PASSING):
        raise
    except CRASHES as error:
        raise PastError(f"{part} crashed: {said(error)}", hint) from error
