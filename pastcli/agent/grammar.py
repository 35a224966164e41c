"""GBNF grammars for the decoding modes: `format` (the shape of a turn), `names` (and only functions that exist),
`schema` (and their parameters). `schema` tells the model what it is to recall: not comparable with the others."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..api import Parameter, Task, ToolSpec, object_schema
from .prompts import FINISH, GIVE_ANSWER, GIVE_UP

MODES = ("off", "format", "names", "schema")

_JSON = r"""thought ::= " " [^\n]{1,300}
name ::= [a-zA-Z0-9_.-]{1,64}
object ::= "{" (ws pair (", " pair)*)? ws "}"
pair ::= string ":" ws value
array ::= "[" (value (", " value)*)? "]"
string ::= "\"" ([^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
integer ::= "-"? ("0" | [1-9] [0-9]{0,15})
number ::= integer ("." [0-9]{1,15})?
boolean ::= "true" | "false"
value ::= string | number | object | array | boolean | "null"
ws ::= " "?
"""
_RULES = {kind: kind for kind in ("string", "integer", "number", "boolean", "array", "object")}


def grammar(task: Task, mode: str) -> str | None:
    """The grammar of one turn, which follows `Thought:` in the prompt; None for mode `off`."""
    if mode == "off":
        return None
    if mode == "format":
        return 'root ::= thought "\\nAction: " name "\\nAction Input: " object\n' + _JSON
    names = [spec.name for spec in task.tools]
    if mode == "names":
        choices = " | ".join(_literal(name) for name in [*names, FINISH])
        return f'root ::= thought "\\nAction: " ({choices}) "\\nAction Input: " object\n' + _JSON
    lines = ['root ::= thought "\\nAction: " (' + " | ".join(f"call{n}" for n in range(len(names) + 1)) + ")"]
    for number, spec in enumerate([*task.tools, _FINISH]):
        lines.append(f'call{number} ::= {_literal(spec.name)} "\\nAction Input: " args{number}')
        lines.extend(_object(number, spec.parameters))
    return "\n".join(lines) + "\n" + _JSON


def _object(number: int, parameters: Sequence[Parameter]) -> list[str]:
    """Rules of an object with the required parameters in order, then any of the optional ones, in order."""
    required = [_pair(p) for p in parameters if p.required]
    optional = [_pair(p) for p in parameters if not p.required]
    if required:
        body = ' ", " '.join(required) + "".join(f' (", " {pair})?' for pair in optional)
        return [f'args{number} ::= "{{" {body} "}}"']
    rules = [f'args{number} ::= "{{" (' + " | ".join(f"tail{number}x{n}" for n in range(len(optional))) + ')? "}"']
    if not optional:
        return [f'args{number} ::= "{{}}"']
    for first, pair in enumerate(optional):
        rest = "".join(f' (", " {later})?' for later in optional[first + 1 :])
        rules.append(f"tail{number}x{first} ::= {pair}{rest}")
    return rules


def _pair(parameter: Parameter) -> str:
    if parameter.enum:
        value = "(" + " | ".join(_literal(json.dumps(choice, ensure_ascii=False)) for choice in parameter.enum) + ")"
    else:
        value = _RULES.get(parameter.type, "value")
    return f"{_literal(json.dumps(parameter.name, ensure_ascii=False) + ': ')} {value}"


def _literal(text: str) -> str:
    """A GBNF string."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + text.translate(str.maketrans(escapes)) + '"'


_FINISH = ToolSpec(
    FINISH,
    "",
    "",
    FINISH,
    schema=object_schema(
        Parameter("return_type", enum=(GIVE_ANSWER, GIVE_UP), required=True), Parameter("final_answer")
    ),
)
