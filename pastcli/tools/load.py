"""`load_tools`: one entry for every source of tools. Formats and environments are plugins; see `formats`, `environments`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..api import Task, ToolEnv, ToolFormat, ToolSpec
from ..api.tools import Key
from ..errors import UsageError, crashes_of
from . import environments, formats, names, sources
from .warnings import Warnings


@dataclass(frozen=True)
class ToolSet:
    """What a source of tools holds: every API once, no two of one name; the queries it brings, in its order.

    `environment` names the plugin that runs the tools unless another one is asked for. `brought` are the queries that
    came with the tools, whether they are asked or not.
    """

    format: str
    specs: tuple[ToolSpec, ...]
    tasks: tuple[Task, ...]
    warnings: Warnings
    environment: str
    brought: tuple[Task, ...] = ()

    @property
    def tools(self) -> int:
        """How many different APIs there are."""
        return len(self.specs)


def load_tools(path: Path, queries: Sequence[str] = (), strict: bool = False) -> ToolSet:
    """The tools of a source of any known kind, told apart by content, and the queries to ask.

    `queries` are asked with all tools of a source that brings no queries of its own; for one that does, they are
    asked with the tools of all its queries instead of these. `strict` turns warnings into errors.
    Raises `UsageError` for a missing, empty or unreadable file, an unknown format, or no query at all.
    """
    found = read_tools(path, strict)
    tasks = found.tasks
    if queries:
        tasks = tuple(Task(f"q{number}", text, found.specs) for number, text in enumerate(queries, start=1))
    if not tasks:
        raise UsageError(f"{path} holds tools but no queries", 'ask with --query "…" (may repeat)')
    return replace(found, tasks=tasks)


def read_tools(path: Path, strict: bool = False) -> ToolSet:
    """Like `load_tools`, for those who do not ask: no query is needed."""
    warnings = Warnings(strict)
    owner = environments.claiming(path)
    asked: list[Task] = []
    if owner is not None:
        name, plugin = owner
        with crashes_of(f"environment {plugin.NAME!r}"):
            kind, read = plugin.NAME, plugin.tools(path, warnings)
    else:
        name = environments.DEFAULT
        kind, asked, read = _from_files(path, warnings)
    listed: dict[Key, ToolSpec] = {}
    for spec in [*read, *(spec for task in asked for spec in task.tools)]:
        if listed.setdefault(spec.key, spec) != spec:
            warnings.add("T06", f"API {spec.tool} / {spec.api} is described differently in two places")
    if not listed:
        raise UsageError(f"no usable tool in {path}", "; ".join(warnings.lines()) or None)
    tasks = tuple(
        replace(task, tools=_named_apart([listed[spec.key] for spec in task.tools], warnings)) for task in asked
    )
    # Where queries bring their tools, what matters is that names differ within each of them.
    specs = _named_apart(listed.values(), Warnings() if tasks else warnings)
    return ToolSet(kind, specs, tasks, warnings, name, tasks)


def open_environment(found: ToolSet, path: Path, name: str = "", **options: object) -> ToolEnv:
    """What runs the tools: the environment of that name, else the tools' own. To be closed by the caller.

    Options such as `model` go to the environment; what one does not know it ignores.
    """
    brought = {id(task) for task in found.brought}
    asked = [task.query for task in found.tasks if id(task) not in brought]
    name = name or found.environment
    opened = environments.load(name).open
    with crashes_of(f"environment {name!r}"):
        return opened(path, found.specs, found.brought, **{"asked": asked, **options})


def _from_files(path: Path, warnings: Warnings) -> tuple[str, list[Task], list[ToolSpec]]:
    """(format, queries, tools) of a file, or of all files of a folder taken together."""
    known, broken = formats.installed()
    documents = sources.read_all(path, warnings) if path.is_dir() else [sources.read(path)]
    tasks: list[Task] = []
    specs: list[ToolSpec] = []
    kinds: dict[str, None] = {}
    for document in documents:
        one = formats.find(document, known)
        if one is None:
            warnings.add("T12", f"{document.path}")
            continue
        kinds[one.NAME] = None
        more_tasks, more_specs = one.read(document, warnings)
        tasks.extend(more_tasks)
        specs.extend(more_specs)
    if not kinds:
        raise _unknown(path, known, broken)
    return " + ".join(kinds), _distinct_ids(tasks, warnings), specs


def _unknown(path: Path, known: Sequence[ToolFormat], broken: list[str]) -> UsageError:
    what = f"no file below {path} is of a known" if path.is_dir() else f"{path} is of no known"
    accepted = ", ".join(sorted(one.NAME for one in known))
    hint = f'accepted: {accepted}; or mcp.json ({{"mcpServers": …}}), or a Python module of functions'
    return UsageError(f"{what} tools format", "; ".join([hint, *broken]))


def _distinct_ids(tasks: Iterable[Task], warnings: Warnings) -> list[Task]:
    """Queries of several files can have the same id, and then two of them would be taken for one."""
    used: dict[str, int] = {}
    found = []
    for task in tasks:
        used[task.id] = used.get(task.id, 0) + 1
        if used[task.id] > 1:
            warnings.add("T06", f"query id {task.id} is used again")
            task = replace(task, id=f"{task.id}#{used[task.id]}")
        found.append(task)
    return found


def _named_apart(specs: Iterable[ToolSpec], warnings: Warnings) -> tuple[ToolSpec, ...]:
    """The tools as one list for a model, no two of the same name."""
    specs = list(specs)
    exposed = names.distinct([spec.name for spec in specs], [spec.key for spec in specs])
    for spec, name in zip(specs, exposed, strict=True):
        if name != spec.name:
            warnings.add("T05", f"API {spec.tool} / {spec.api} would be {spec.name!r} like another one; it is {name!r}")
    return tuple(
        spec if spec.name == name else replace(spec, name=name) for spec, name in zip(specs, exposed, strict=True)
    )
