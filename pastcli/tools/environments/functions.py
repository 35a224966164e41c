"""A Python module of the user's own functions as tools: `--tools mytools.py`.

Every public function defined in the module is a tool. Its schema comes from its annotations (pydantic reads them, so
dataclasses, `Literal`, `Annotated[int, Field(ge=1)]` and the like mean what they say) and its documentation from its
docstring, Google's, NumPy's or Sphinx's style. The module is the user's own program and is run: it is never taken for
one because of its content, only because it was named.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import sys
import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...api import Observation, Task, ToolSpec, ToolWarnings
from ...errors import CRASHES, PASSING, PastError, UsageError, said
from ..formats.functions import shown_name
from ..schemas import every, normalise, normalise_value
from ..validate import check

NAME = "Python functions"

CATEGORY = "functions"


def claims(path: Path) -> bool:
    """True for a Python file."""
    return path.suffix == ".py" and path.is_file()


def tools(path: Path, warnings: ToolWarnings) -> list[ToolSpec]:
    """The module's functions, in the order of its text."""
    found = [_spec(path, name, function, warnings) for name, function in _functions(_module(path)).items()]
    if not found:
        raise UsageError(f"{path} defines no public function", "write def name(argument: type) -> type in it")
    return found


def open(path: Path, tools: Sequence[ToolSpec], tasks: Sequence[Task], **_: Any) -> FunctionsEnv:
    return FunctionsEnv(path)


class FunctionsEnv:
    """A `ToolEnv` that calls the functions of a module; what one raises is an error of the call, as a server's would be."""

    name = "functions"
    deterministic = False

    def __init__(self, path: Path):
        self._functions = _functions(_module(path))

    def call(self, spec: ToolSpec, arguments: Any) -> Observation:
        function = self._functions.get(spec.api)
        if function is None:
            return Observation(f"unknown API {spec.tool} / {spec.api}", "")
        error, given = check(spec, arguments)
        if error:
            return Observation(error, "")
        try:
            return Observation("", _plain(_run(function, given)))
        except PASSING:
            raise
        except CRASHES as problem:  # the user's function may raise anything; it is what the model gets to see
            return Observation(f"{type(problem).__name__}: {problem}"[:1000], "")

    def close(self) -> None:
        """Nothing to let go of: the module is the program's own."""


_loaded: dict[str, Any] = {}
_loading = threading.Lock()


def _module(path: Path) -> Any:
    """The module, run once a process for one content; raises `PastError` if it cannot be."""
    path = path.resolve()
    name = f"past_tools_{path.stem}_{sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]}"
    with _loading:
        if name not in _loaded:
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None:
                raise PastError(f"{path} is no Python module", "name a file that ends in .py")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module  # dataclasses and pydantic look their module up
            module.__dict__["print"] = _print
            sys.path.insert(0, str(path.parent))
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    spec.loader.exec_module(module)
            except PASSING:
                raise
            except CRASHES as error:
                del sys.modules[name]
                raise PastError(f"{path} cannot be run: {said(error)}", "run it with python first") from error
            finally:  # what it imports later is still found, but never in place of anybody else's module
                sys.path.remove(str(path.parent))
                sys.path.append(str(path.parent))
            _loaded[name] = module
        return _loaded[name]


def _print(*words: Any, **named: Any) -> None:
    """`print` inside the module: stdout is for this program's own data."""
    print(*words, **{"file": sys.stderr, **named})


def _functions(module: Any) -> dict[str, Callable[..., Any]]:
    """Public functions that the module defines itself; with `__all__` those it names, wherever they come from."""
    named = getattr(module, "__all__", None)
    if named is not None:
        if not isinstance(named, (list, tuple)) or not all(isinstance(name, str) for name in named):
            raise UsageError(f"{module.__file__}: __all__ is no list of names", 'write __all__ = ["name", …]')
        return {name: getattr(module, name) for name in named if inspect.isroutine(getattr(module, name, None))}
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def _spec(path: Path, name: str, function: Callable[..., Any], warnings: ToolWarnings) -> ToolSpec:
    where = f"function {name}"
    text, described, returned = _documentation(inspect.getdoc(function) or "")
    if not text:
        warnings.add("T01", f"{where}: description is missing")
    schema, response = _schemas(function, where, warnings)
    for parameter, words in described.items():
        if parameter in schema.get("properties", {}):
            schema["properties"][parameter].setdefault("description", words)
    if response is not None and returned:
        response = {**response, "description": returned}
    schema, response = normalise(schema, where, warnings), normalise_value(response, f"{where}, response", warnings)
    for part in (*every(schema), *every(response)):
        part.pop("title", None)  # pydantic gives every field its own name again, which would only lengthen prompts
    return ToolSpec(
        name=shown_name(name, where, warnings),
        category=CATEGORY,
        tool=path.stem,
        api=name,
        description=text,
        method="",
        schema=schema,
        response_schema=response or None,
    )


def _documentation(text: str) -> tuple[str, dict[str, str], str]:
    """(what the function does, what each argument is, what is returned) as its docstring says."""
    from docstring_parser import ParseError, parse

    try:
        found = parse(text)
    except ParseError:
        return text, {}, ""
    about = "\n".join(part for part in (found.short_description, found.long_description) if part)
    described = {one.arg_name: " ".join(one.description.split()) for one in found.params if one.description}
    returned = found.returns.description if found.returns else None
    return about, described, " ".join((returned or "").split())


def _schemas(
    function: Callable[..., Any], where: str, warnings: ToolWarnings
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(schema of the arguments, of what is returned), as pydantic reads the annotations; defaults that are JSON are in it."""
    from pydantic import ConfigDict, TypeAdapter, create_model
    from pydantic.errors import PydanticUserError
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        """A default that JSON cannot say is left out, as it is of no use to a model; nobody need hear of it."""

        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (the library's own type)

    try:
        hints = inspect.get_annotations(function, eval_str=True)
    except Exception as error:  # an annotation is any expression
        raise UsageError(f"{where}: its annotations cannot be read: {error}", "import what they name") from error
    fields: dict[str, Any] = {}
    open_ended = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
                raise UsageError(f"{where}: {parameter.name} has no name that a caller can use", "leave out the `/`")
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    try:
        config = ConfigDict(arbitrary_types_allowed=False, extra="allow" if open_ended else "ignore")
        schema = _model(create_model, fields, config).model_json_schema(schema_generator=Quiet)
    except (PydanticUserError, TypeError, ValueError, NameError) as error:
        problem = str(error).splitlines()[0]
        raise UsageError(f"{where}: its annotations give no schema: {problem}", "annotate with JSON's types") from error
    try:
        returned = hints.get("return")
        response = None if returned in (None, Any) else TypeAdapter(returned).json_schema(mode="serialization")
    except (PydanticUserError, TypeError, ValueError) as error:
        warnings.add("T02", f"{where}: what it returns has no schema: {str(error).splitlines()[0]}")
        response = None
    return schema, response


def _model(create_model: Any, fields: dict[str, Any], config: Any) -> Any:
    """A pydantic model of the parameters; names that pydantic keeps for itself go by an alias."""
    from pydantic import Field

    safe = {f"p{n}": (kind, Field(default, alias=name)) for n, (name, (kind, default)) in enumerate(fields.items())}
    return create_model("Arguments", __config__=config, **safe)


def _run(function: Callable[..., Any], given: dict[str, Any]) -> Any:
    """Call with the types that were annotated: a dict becomes the dataclass or model it stands for."""
    from pydantic import ConfigDict, validate_call

    result = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)(**given)
    if inspect.iscoroutine(result):
        import asyncio

        return asyncio.run(result)
    return result


def _plain(value: Any) -> Any:
    """What a function returned, in JSON's types; numbers that JSON has none of are null, anything unknown its text."""
    from pydantic_core import to_jsonable_python

    known = to_jsonable_python(value, fallback=str, serialize_unknown=True, inf_nan_mode="constants", bytes_mode="utf8")
    return json.loads(json.dumps(known, default=str), parse_constant=lambda _: None)
