"""OpenAPI 3.0 and 3.1, JSON or YAML: one tool an operation.

Its arguments are the parameters of path and operation and the members of the request body, or a `body` where those
cannot be laid beside the parameters. References point into the same document; the definitions an operation needs
travel with it as `$defs`, circles included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...api import Task, ToolDocument, ToolSpec, ToolWarnings
from .functions import once, shown_name
from .openapi_schemas import Definitions

NAME = "OpenAPI"

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_UNSENT = ("accept", "content-type", "authorization")
"""Header parameters that the specification tells us to ignore."""

_JSON = ("application/json", "application/*+json", "application/x-www-form-urlencoded", "multipart/form-data")


def accepts(document: ToolDocument) -> bool:
    """True for an object that says which version of OpenAPI it is written in, from 3 on."""
    value = document.value
    return isinstance(value, Mapping) and str(value.get("openapi", "")).startswith("3.")


def read(document: ToolDocument, warnings: ToolWarnings) -> tuple[list[Task], list[ToolSpec]]:
    """No queries; one tool an operation, in the order of the paths."""
    root = document.value
    info = root.get("info") if isinstance(root.get("info"), Mapping) else {}
    title = info["title"] if isinstance(info.get("title"), str) else document.path.stem
    definitions = Definitions(root, warnings)
    taken: set[str] = set()
    specs = []
    for method, path, shared, operation in _operations(root, definitions, warnings):
        api = _name(method, path, operation, taken, warnings)
        specs.append(
            _Operation(definitions, warnings, f"{method.upper()} {path}").spec(title, api, method, shared, operation)
        )
    return [], once(specs, warnings)


def _operations(root: Any, definitions: Definitions, warnings: ToolWarnings) -> Iterator[tuple[str, str, Any, Any]]:
    """(method, path, the path's own parameters, operation)."""
    paths = root.get("paths", {})
    if not isinstance(paths, Mapping):
        warnings.add("T01", "paths is no object; taken as none")
        return
    for path, item in paths.items():
        item = definitions.follow(item)
        for method, operation in item.items():
            if method in METHODS and isinstance(operation, Mapping):
                yield method, path, item.get("parameters", []), operation
            elif method in METHODS:
                warnings.add("T12", f"{method.upper()} {path}: no operation")


def _name(method: str, path: str, operation: Mapping[str, Any], taken: set[str], warnings: ToolWarnings) -> str:
    """operationId; method and path where there is none or it is taken."""
    where, own = f"{method.upper()} {path}", operation.get("operationId")
    name = own if isinstance(own, str) and own.strip() else ""
    if not name:
        warnings.add("T01", f"{where}: operationId is missing")
    elif name in taken:
        warnings.add("T05", f"{where}: operationId {name!r} is taken; method and path name it")
    if not name or name in taken:
        name = f"{method} {path}"
    taken.add(name)
    return name


class _Operation:
    """One operation on its way to a ToolSpec."""

    def __init__(self, definitions: Definitions, warnings: ToolWarnings, where: str):
        self.definitions = definitions
        self.warnings = warnings
        self.where = where

    def spec(self, title: str, api: str, method: str, shared: Any, operation: Mapping[str, Any]) -> ToolSpec:
        properties: dict[str, Any] = {}
        required: list[str] = []
        for name, schema, needed in self._parameters(shared, operation):
            properties[name] = schema
            required += [name] * needed
        schema = {"type": "object", "properties": properties, "required": required}
        self._add_body(operation.get("requestBody"), schema)
        texts = [operation.get("summary"), operation.get("description")]
        response, example = self._response(operation.get("responses"))
        return ToolSpec(
            name=shown_name(api, self.where, self.warnings),
            category="openapi",
            tool=title,
            api=api,
            description="\n".join(dict.fromkeys(text for text in texts if isinstance(text, str) and text)),
            method=method.upper(),
            schema=self.definitions.carried_by(schema),
            response_template=example,
            response_schema=self.definitions.carried_by(response) if response else None,
        )

    def _parameters(self, shared: Any, operation: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
        """(name, schema, required); an operation's parameter takes the place of its path's of the same name and place."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for listed in (shared, operation.get("parameters", [])):
            if not isinstance(listed, list):
                self.warnings.add("T01", f"{self.where}: parameters is no list; taken as none")
                continue
            for entry in listed:
                entry = self.definitions.follow(entry)
                name, place = entry.get("name"), entry.get("in")
                if not isinstance(name, str) or not name or not isinstance(place, str):
                    self.warnings.add("T01", f"{self.where}: a parameter without name or place; left out")
                elif not (place == "header" and name.lower() in _UNSENT):
                    found[name, place] = entry
        names = [name for name, _ in found]
        for (name, place), entry in found.items():
            shown = name if names.count(name) == 1 else f"{name}_{place}"
            yield shown, self._parameter(name, entry), entry.get("required") is True or place == "path"

    def _parameter(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        where = f"{self.where}, parameter {name}"
        schema = entry.get("schema")
        if schema is None and isinstance(entry.get("content"), Mapping):
            schema = next(
                (media.get("schema") for media in entry["content"].values() if isinstance(media, Mapping)), {}
            )
        mended = self.definitions.schema(schema if schema is not None else {}, where)
        if isinstance(entry.get("description"), str):
            mended = {**mended, "description": entry["description"]}
        return mended

    def _add_body(self, body: Any, schema: dict[str, Any]) -> None:
        """The request body's members beside the parameters; as one `body` if it is no plain object or names clash."""
        body = self.definitions.follow(body)
        content = body.get("content")
        if not isinstance(content, Mapping) or not content:
            return
        media = self.definitions.follow(content[next((kind for kind in _JSON if kind in content), next(iter(content)))])
        whole = self.definitions.schema(media.get("schema", {}), f"{self.where}, body")
        needed = body.get("required") is True
        flat = self.definitions.plain_object(whole)
        if flat is None or set(flat["properties"]) & set(schema["properties"]):
            name = "body" if "body" not in schema["properties"] else "request_body"
            schema["properties"][name] = whole
            schema["required"] += [name] * needed
            return
        sent = {name: value for name, value in flat["properties"].items() if not self.definitions.read_only(value)}
        wanted = [name for name in flat.get("required", []) if name in sent]
        schema["properties"].update(sent)
        if needed:
            schema["required"] += wanted
        elif wanted:  # a body that may be left out must be whole where it is not
            schema["dependentRequired"] = {name: [other for other in wanted if other != name] for name in sent}

    def _response(self, responses: Any) -> tuple[dict[str, Any], Any]:
        """(schema, example) of the first good answer that has either. `default` is one only where no other is documented: beside
        a 201 without content it says what errors look like."""
        stated = responses if isinstance(responses, Mapping) else {}
        good = [response for status, response in stated.items() if str(status).startswith("2")]
        for response in good or [response for status, response in stated.items() if status == "default"]:
            content = self.definitions.follow(response).get("content")
            for media in content.values() if isinstance(content, Mapping) else ():
                media = self.definitions.follow(media)
                schema = (
                    self.definitions.schema(media["schema"], f"{self.where}, response") if "schema" in media else {}
                )
                if schema or "example" in media:
                    return schema, media.get("example")
        return {}, None
