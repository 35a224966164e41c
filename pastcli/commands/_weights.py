"""Progress over the weights of a model, in millions: models have too many of them to count one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from .. import output


@contextmanager
def weights_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """`update(done, total)` in weights; says beforehand if they are gone through the slow way."""
    _say_if_slow()
    with output.progress(label, "M weights") as update:
        yield lambda done, total: update(done // 10**6, max(total // 10**6, 1))


def refuse_not_finite(model: Path, base: Path | None = None) -> None:
    """Raise `MismatchError` for a model that holds NaN or infinity; nothing is looked at twice (see `checks.finite`)."""
    from ..vectors.checks import finite

    with weights_progress("looking for NaN") as progress:
        finite.model(model, base, progress)


@cache
def _say_if_slow() -> None:
    """Once a process: the extension is optional when the package is built, and nothing else would show that it is not there."""
    from ..vectors.numbers.arithmetic import WHY_NOT, compiled
    from ..vectors.numbers.compiled import TO_COMPILE

    if not compiled():
        output.warn(
            f"the compiled loops of the weight arithmetic are not used ({WHY_NOT}): numpy gives the same results, several "
            "times slower",
            TO_COMPILE,
        )
