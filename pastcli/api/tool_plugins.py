"""What plugins for tools implement: a format that tools are written in, an environment that answers calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .tools import Task, ToolEnv, ToolSpec


@dataclass(frozen=True)
class ToolDocument:
    """One parsed tools file: any JSON value; the lines of a JSONL file are a list."""

    path: Path
    value: Any

    @property
    def entries(self) -> list[Any]:
        """The items of a list; anything else as the only item."""
        return self.value if isinstance(self.value, list) else [self.value]


class ToolWarnings(Protocol):
    """Where a format says what is wrong with a file without giving up on the rest of it."""

    def add(self, kind: str, text: str, category: str = "") -> None:
        """`kind` is a number such as `T01` (`tools.warnings.KINDS`), `text` the place and the fault; `category` is that of the
        API which it is about, so that who asks for others is not told."""


class ToolFormat(Protocol):
    """The `past.tool_formats` role, a module as well as an object: one way to write tools down."""

    NAME: str

    def accepts(self, document: ToolDocument) -> bool:
        """True if the document looks like this format; broken entries beside good ones are warned about later."""

    def read(self, document: ToolDocument, warnings: ToolWarnings) -> tuple[list[Task], list[ToolSpec]]:
        """Queries with tools of their own, and tools that belong to none."""


class Environment(Protocol):
    """The `past.environments` role, a module as well as an object: something that answers tool calls."""

    NAME: str

    def claims(self, path: Path) -> bool:
        """True if `path` is this environment's own and no tools format's: it knows the tools itself."""

    def tools(self, path: Path, warnings: ToolWarnings) -> list[ToolSpec]:
        """The tools behind a path that it claims."""

    def open(self, path: Path, tools: Sequence[ToolSpec], tasks: Sequence[Task], **options: Any) -> ToolEnv:
        """Ready for calls of `tools`; `tasks` are what they are wanted for. Options it does not know are ignored."""
