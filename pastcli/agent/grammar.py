"""GBNF grammars for the decoding modes: `format` (the shape of a turn), `names` (and only functions that exist),
`schema` (and their parameters). `schema` tells the model what it is to recall: not comparable with the others."""

from __future__ import annotations

from ..api import Parameter, Task, ToolSpec, object_schema
from .prompts import FINISH, GIVE_ANSWER, GIVE_UP
from .schema_grammar import arguments_rules, literal

_JSON = r"""thought ::= " " [^\n]{1,300}
name ::= [a-zA-Z0-9_.-]{1,64}
object ::= "{" (ws pair (", " pair)*)? ws "}"
pair ::= string ":" ws value
array ::= "[" (value (", " value)*)? "]"
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
integer ::= "-"? ("0" | [1-9] [0-9]{0,15})
number ::= integer ("." [0-9]{1,15})?
boolean ::= "true" | "false"
value ::= string | number | object | array | boolean | "null"
ws ::= " "?
"""


def grammar(task: Task, mode: str) -> str | None:
    """The grammar of one turn, which follows `Thought:` in the prompt; None for mode `off`."""
    if mode == "off":
        return None
    if mode == "format":
        return 'root ::= thought "\\nAction: " name "\\nAction Input: " object\n' + _JSON
    names = [spec.name for spec in task.tools]
    if mode == "names":
        choices = " | ".join(literal(name) for name in [*names, FINISH])
        return f'root ::= thought "\\nAction: " ({choices}) "\\nAction Input: " object\n' + _JSON
    lines = ['root ::= thought "\\nAction: " (' + " | ".join(f"call{n}" for n in range(len(names) + 1)) + ")"]
    for number, spec in enumerate([*task.tools, _FINISH]):
        lines.append(f'call{number} ::= {literal(spec.name)} "\\nAction Input: " args{number}')
        lines.extend(arguments_rules(f"args{number}", spec.schema))
    return "\n".join(lines) + "\n" + _JSON


_FINISH = ToolSpec(
    FINISH,
    "",
    "",
    FINISH,
    schema=object_schema(
        Parameter("return_type", enum=(GIVE_ANSWER, GIVE_UP), required=True), Parameter("final_answer")
    ),
)
