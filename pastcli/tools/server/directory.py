"""Which API a client means: (category, tool, api) in any spelling that StableToolBench's client or server uses.

The client standardises the tool's and the API's name and puts `is_` before reserved words; its server took the whole
function name and a tool with its category at the end too. Spelled exactly as the source spells it, an API is always
found; where two APIs of a tool fall together once standardised, the first one is meant, as in the client's own reading
of a tool's file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ...api import ToolSpec
from ..names import exposed_parameter, standardize


def spelled_category(category: str) -> str:
    """The category as a folder's name: blanks, commas and slashes are one `_`; case is kept.

    >>> spelled_category("Video, Images")
    'Video_Images'
    """
    return re.sub(r"_+", "_", re.sub(r"[ ,/]", "_", category))


def spelled_tool(tool: str) -> str:
    """A tool's name as StableToolBench's client writes it, and names its file: `^` and fewer CJK characters stay.

    >>> spelled_tool("2. a^b!")
    'get_2_a^b'
    """
    text = re.sub(r"_+", "_", re.sub(r"[^\u4e00-\u9fa5^a-zA-Z0-9_]", "_", tool)).lower().strip("_")
    return f"get_{text}" if text[:1].isdigit() else text


class Directory:
    """Looks APIs up by exact and by standardised names, and by the name a model sees."""

    def __init__(self, specs: Iterable[ToolSpec]):
        self.specs = tuple(specs)
        self._exact: dict[tuple[str, str, str], ToolSpec] = {}
        self._standard: dict[tuple[str, str, str], ToolSpec] = {}
        self._shown: dict[str, ToolSpec] = {}
        for spec in self.specs:
            self._exact.setdefault(spec.key, spec)
            self._standard.setdefault(_standard(spec.category, spec.tool or spec.category, spec.api), spec)
            self._shown.setdefault(spec.name, spec)

    def find(self, category: str, tool: str, api: str) -> ToolSpec | None:
        """The API that is meant; None if there is none of these names. A function of no tool is one of its category's."""
        exact = self._exact.get((category, tool, api))
        if exact is not None:
            return exact
        return next((spec for key in _readings(category, tool, api) if (spec := self._standard.get(key))), None)

    def shown(self, name: str) -> ToolSpec | None:
        """The API of this function name, the one that a model sees."""
        return self._shown.get(name)

    def fallen_together(self) -> list[tuple[ToolSpec, ToolSpec]]:
        """(an API no client can name, the one it gets instead)."""
        found = []
        for spec in self.specs:
            first = self._standard[_standard(spec.category, spec.tool or spec.category, spec.api)]
            if first is not spec:
                found.append((spec, first))
        return found


def _standard(category: str, tool: str, api: str) -> tuple[str, str, str]:
    return (spelled_category(category).casefold(), standardize(tool), exposed_parameter(api))


def _readings(category: str, tool: str, api: str) -> Iterator[tuple[str, str, str]]:
    """What the three names may stand for, the most literal first."""
    category, tool, api = _standard(category, tool or category, api)
    short_tool = tool.removesuffix(f"_for_{standardize(category)}")
    for one_tool in dict.fromkeys((tool, short_tool)):
        for one_api in dict.fromkeys((api, api.removesuffix(f"_for_{one_tool}"))):
            yield category, one_tool, exposed_parameter(one_api)
