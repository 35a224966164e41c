"""JSON Schema as the documentation of a call: following references, and the flat list of its parameters.

A schema here is one that loading has mended (`tools.schemas.normalise`): JSON Schema 2020-12, types by their own
names, every `$ref` a pointer into the same document. Circular references are legal: nothing here follows one twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

Schema = Mapping[str, Any]

_BRANCHES = ("allOf", "anyOf", "oneOf")
_CONDITIONS = ("if", "then", "else")


@dataclass(frozen=True)
class Parameter:
    """One argument of a tool, without what is inside it.

    `type` is a JSON-schema type name, or 'any' when the source names none or several. `schema` is the whole
    documentation of the argument, `$ref` at its root followed.
    """

    name: str
    type: str = "string"
    description: str = ""
    required: bool = False
    default: Any = None
    enum: tuple[Any, ...] = ()
    raw_name: str = ""
    schema: Schema = field(default_factory=dict, repr=False, compare=False)


def object_schema(*parameters: Parameter) -> dict[str, Any]:
    """The schema of an object with these members: the flat list as a whole schema.

    >>> object_schema(Parameter("u", enum=("a", "b"), required=True))["properties"]
    {'u': {'type': 'string', 'enum': ['a', 'b']}}
    """
    properties = {}
    for parameter in parameters:
        entry: dict[str, Any] = {} if parameter.type == "any" else {"type": parameter.type}
        if parameter.enum:
            entry["enum"] = list(parameter.enum)
        if parameter.description:
            entry["description"] = parameter.description
        if parameter.default is not None:
            entry["default"] = parameter.default
        properties[parameter.name] = {**parameter.schema, **entry}
    schema = {"type": "object", "properties": properties}
    required = [parameter.name for parameter in parameters if parameter.required]
    return schema | ({"required": required} if required else {})


def pointer(root: Any, reference: str) -> Any:
    """What `#/a/b` points to in `root`; None if that is nothing. A pointer in a URL is written as URLs are: `%20` is a blank."""
    if not reference.startswith("#"):
        return None
    target = root
    for part in unquote(reference[1:]).split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        elif isinstance(target, Mapping) and part in target:
            target = target[part]
        else:
            return None
    return target


def resolve(schema: Any, root: Schema) -> dict[str, Any]:
    """The schema with the `$ref` at its root followed; what stands beside a reference holds as well.

    A boolean schema is given as the object that means the same; a circle or a dangling reference as {} (anything).
    """
    beside: dict[str, Any] = {}
    visited: set[str] = set()
    while isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
        reference = schema["$ref"]
        beside = {**{key: value for key, value in schema.items() if key != "$ref"}, **beside}
        if reference in visited:
            return beside
        visited.add(reference)
        schema = pointer(root, reference)
    if schema is False:
        return {"not": {}, **beside}
    return {**schema, **beside} if isinstance(schema, Mapping) else beside


def kinds(schema: Any, root: Schema) -> list[str]:
    """The JSON types a schema allows beside null, sorted; empty when it allows any."""
    found = _kinds(resolve(schema, root), root, 8)
    return sorted(found - {"null"} or found) if found is not None else []


def _kinds(schema: Schema, root: Schema, depth: int) -> set[str] | None:
    spelled = schema.get("type")
    if isinstance(spelled, (str, list)):
        return {spelled} if isinstance(spelled, str) else set(spelled)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list) and depth:
            allowed: set[str] = set()
            for branch in schema[key]:
                found = _kinds(resolve(branch, root), root, depth - 1)
                if found is None:
                    return None
                allowed |= found
            return allowed
    for branch in schema.get("allOf", []) if depth else []:
        narrowed = _kinds(resolve(branch, root), root, depth - 1)
        if narrowed is not None:
            return narrowed
    return None


def members(schema: Any, root: Schema) -> tuple[dict[str, Any], list[str]]:
    """(property schemas by name, required names) of an object schema.

    Members that only a branch (`anyOf`, `then`, …) names are there too, and never required.
    """
    properties: dict[str, Any] = {}
    required: dict[str, None] = {}
    for part, always in _parts(resolve(schema, root), root, 8):
        for name, value in part.get("properties", {}).items():
            properties.setdefault(name, value)
        if always:
            required.update(dict.fromkeys(part.get("required", [])))
    return properties, [name for name in required if name in properties]


def open_ended(schema: Any, root: Schema) -> bool:
    """True if the schema says itself that members it does not name are welcome (silence is no invitation)."""
    return any(
        part.get(key) not in (None, False)
        for part, _ in _parts(resolve(schema, root), root, 8)
        for key in ("additionalProperties", "patternProperties", "unevaluatedProperties")
    )


def _parts(schema: Schema, root: Schema, depth: int, always: bool = True) -> Iterator[tuple[Schema, bool]]:
    """The schema itself, then all its branches; with whether a value must satisfy it in any case."""
    yield schema, always
    if depth == 0:
        return
    for key in _BRANCHES:
        for branch in schema.get(key, []):
            yield from _parts(resolve(branch, root), root, depth - 1, always and key == "allOf")
    for key in _CONDITIONS:
        if key in schema:
            yield from _parts(resolve(schema[key], root), root, depth - 1, False)


def merged(schema: Schema, part: Schema, instead_of: str) -> dict[str, Any]:
    """Two schemas as one: members and required names of both, else what the first says, its keyword `instead_of` apart."""
    whole = {**part, **{key: value for key, value in schema.items() if key != instead_of}}
    for key in ("properties", "$defs"):
        if key in part and key in schema:
            whole[key] = {**part[key], **schema[key]}
    if "required" in part and "required" in schema:
        whole["required"] = list(dict.fromkeys([*schema["required"], *part["required"]]))
    return whole


def parameters(schema: Schema, aliases: Mapping[str, str]) -> tuple[Parameter, ...]:
    """The flat view of an object schema; `aliases` gives the shown name of a name as the source spells it."""
    raw = {shown: spelled for spelled, shown in aliases.items()}
    properties, required = members(schema, schema)
    return tuple(
        _parameter(name, value, schema, name in required, raw.get(name, name)) for name, value in properties.items()
    )


def _parameter(name: str, value: Any, root: Schema, required: bool, raw_name: str) -> Parameter:
    own = resolve(value, root)
    types = kinds(own, root)
    description = own.get("description", "")
    return Parameter(
        name=name,
        type=types[0] if len(types) == 1 else "any",
        description=description if isinstance(description, str) else "",
        required=required,
        default=own.get("default"),
        enum=(own["const"],) if "const" in own else tuple(own.get("enum", ())),
        raw_name=raw_name,
        schema=own,
    )
