"""`past plugins`: the backends, rewards and judges that are installed."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer

from .. import lookups, output, registry
from ..errors import PastError, UsageError
from ._options import Json, close

EXAMPLE = "Example: `past plugins --role chat --check`"


def command(
    role: Annotated[str, typer.Option("--role", help=f"Only this role: {', '.join(registry.GROUPS)}.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Import each one, and exit 1 if any is broken.")] = False,
    as_json: Json = False,
) -> None:
    """List the installed plugins by role. Without --check nothing of them is imported.

    A package adds a plugin by an entry point in its pyproject.toml; see examples/third_party_plugin.
    """
    if role and role not in registry.GROUPS:
        raise UsageError(f"no plugin role {role!r}", f"roles: {', '.join(registry.GROUPS)}")
    rows = [row for each in registry.GROUPS if not role or each == role for row in _rows(each, check)]
    broken = [row for row in rows if row["state"] == "broken"]

    def human() -> None:
        columns = ["role", "name", "package", "object", "state"]
        output.table("", columns, [[row[column] for column in columns] for row in rows])
        for row in broken:
            output.warn(row["problem"], row["hint"])

    output.emit(rows, as_json, human)
    if broken:
        raise PastError(f"{len(broken)} of {len(rows)} plugins are broken", "the others still work")
    close(lookups.plugins(rows, check), as_json)


def _rows(role: str, check: bool) -> list[dict[str, Any]]:
    found = registry.names(role)
    times = Counter(plugin.name for plugin in found)
    rows = []
    for plugin in found:
        row = {"role": role, "name": plugin.name, "package": plugin.distribution, "object": plugin.value}
        state, problem, hint = "not loaded", "", ""
        if times[plugin.name] > 1:
            state, problem = "duplicate", f"two {role} plugins are named {plugin.name}"
        elif check:
            state = "ok"
            try:
                registry.load(role, plugin.name)
            except PastError as error:
                state, problem, hint = "broken", error.message, error.hint or ""
        rows.append({**row, "state": state, "problem": problem, "hint": hint})
    return rows
