"""The `schema` decoding mode: what llama.cpp lets a model write, set against what the validator accepts."""

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_agent import model_vocabulary  # noqa: F401 (a fixture)

from pastcli.agent.grammar import grammar
from pastcli.agent.schema_grammar import number
from pastcli.api import Parameter, Task, ToolSpec, object_schema
from pastcli.tools.environments.from_schema import from_schema
from pastcli.tools.environments.invent import Echo
from pastcli.tools.schemas import normalise
from pastcli.tools.validate import check, validator
from pastcli.tools.warnings import Warnings

ORDER = {
    "required": ["items"],
    "properties": {
        "items": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/Item"}},
        "rush": {"type": ["boolean", "null"]},
        "when": {"type": "string", "format": "date"},
        "pair": {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
        "extra": {"type": "object", "additionalProperties": {"type": "integer"}},
        "either": {"anyOf": [{"type": "integer", "minimum": 1}, {"$ref": "#/$defs/Item"}]},
        "any": {},
    },
    "$defs": {
        "Item": {
            "type": "object",
            "required": ["sku", "count"],
            "properties": {
                "sku": {"type": "string", "minLength": 2, "maxLength": 4},
                "count": {"type": "integer", "minimum": 1, "maximum": 7},
                "share": {"type": "number", "minimum": 0, "maximum": 1},
                "colour": {"enum": ["red", 'na"vy', 3]},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
            },
        }
    },
}


def spec_of(schema):
    return ToolSpec("order", "", "", "order", schema=normalise(schema, "function order", Warnings()))


def turn(arguments):
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f" t\nAction: order\nAction Input: {text}"


@pytest.mark.parametrize(
    ("arguments", "fine"),
    [
        ({"items": [{"sku": "AB", "count": 7}]}, True),
        (
            {
                "items": [
                    {"sku": "AB", "count": 1, "share": 0.25, "colour": 'na"vy', "parts": [{"sku": "CD", "count": 2}]}
                ]
            },
            True,
        ),
        (
            {
                "items": [{"sku": "AB", "count": 1}],
                "rush": None,
                "when": "2024-02-29",
                "pair": [1, "x"],
                "extra": {"a": 1, "b": 2},
                "either": 5,
                "any": [{}],
            },
            True,
        ),
        ({"items": [{"sku": "AB", "count": 1}], "either": {"sku": "EF", "count": 3}}, True),
        ({"items": [{"sku": "AB", "count": 8}]}, False),
        ({"items": [{"sku": "AB", "count": 0}]}, False),
        ({"items": [{"sku": "A", "count": 1}]}, False),
        ({"items": [{"sku": "ABCDE", "count": 1}]}, False),
        ({"items": [{"sku": "AB"}]}, False),
        ({"items": []}, False),
        ({"items": [{"sku": "AB", "count": 1}] * 3}, False),
        ({"items": [{"sku": "AB", "count": 1, "share": 1.5}]}, False),
        ({"items": [{"sku": "AB", "count": 1, "colour": "green"}]}, False),
        ({"items": [{"sku": "AB", "count": 1}], "when": "2024-13-01"}, False),
        ({"items": [{"sku": "AB", "count": 1}], "extra": {"a": "x"}}, False),
        ({"items": [{"sku": "AB", "count": 1}], "more": 1}, False),
        ({"items": [{"sku": "AB", "count": 1, "parts": [{"sku": "CD", "count": 9}]}]}, False),
        ({}, False),
    ],
)
def test_the_grammar_keeps_what_is_nested(arguments, fine, model_vocabulary):  # noqa: F811
    spec = spec_of(ORDER)
    assert model_vocabulary(grammar(Task("1", "q", (spec,)), "schema"))(turn(arguments)) == fine
    assert (check(spec, arguments)[0] == "") == fine


def pattern_of(gbnf):
    """A bounded-number rule as a Python regular expression: GBNF is one, but for quotes and blanks."""
    text = gbnf.replace("integer", '"-"? ("0" | [1-9] [0-9]{0,15})')
    return re.compile(re.sub(r'"([^"]*)"', lambda found: re.escape(found[1]), text).replace(" ", ""))


@settings(max_examples=300, deadline=None)
@given(st.none() | st.integers(-1200, 1200), st.none() | st.integers(-1200, 1200), st.integers(-1500, 1500))
def test_whole_numbers_are_held_within_their_bounds(low, high, value):
    schema = {key: bound for key, bound in (("minimum", low), ("maximum", high)) if bound is not None}
    allowed = (low is None or value >= low) and (high is None or value <= high)
    if low is not None and high is not None and low > high:
        return
    assert bool(pattern_of(number(schema, whole=True)).fullmatch(str(value))) == allowed


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 60).map(lambda x: round(x, 3)))
def test_fractions_do_not_go_beyond_whole_bounds(low, span, value):
    rule = pattern_of(number({"minimum": low, "maximum": low + span + 1}, whole=False))
    assert bool(rule.fullmatch(f"{value:.3f}")) == (low <= value < low + span + 1)
    assert (
        rule.fullmatch(str(low + span + 1))
        and not rule.fullmatch(f"-{value}")
        and not rule.fullmatch(str(low + span + 2))
    )


def test_valid_calls_of_any_schema_can_be_written(model_vocabulary):  # noqa: F811
    """Schemas drawn at random: llama.cpp compiles each grammar, and lets through what was made to fit the schema."""
    draw = random.Random(0)

    def schema(depth):
        kind = draw.choice(
            ["string", "integer", "number", "boolean", "enum", "array", "object", "anyOf", "ref"][: 9 if depth else 5]
        )
        if kind == "enum":
            return {"enum": draw.sample(["a", "ü", 1, None, {"x": [1]}], 2)}
        if kind == "ref":
            return {"$ref": "#/$defs/D"}
        if kind == "anyOf":
            return {"anyOf": [schema(depth - 1), schema(depth - 1)]}
        if kind == "array":
            return {"type": "array", "items": schema(depth - 1), "minItems": draw.randint(0, 1), "maxItems": 2}
        if kind == "object":
            names = draw.sample(["a", "b c", 'q"', "ü"], 3)
            return {
                "type": "object",
                "properties": {name: schema(depth - 1) for name in names},
                "required": names[: draw.randint(0, 3)],
            }
        bounds = (
            {"minimum": draw.randint(-20, 0), "maximum": draw.randint(1, 300)}
            if kind in ("integer", "number") and draw.random() < 0.5
            else {}
        )
        return {"type": kind, **bounds}

    tried = 0
    for number_ in range(25):
        names = [f"p{n}" for n in range(draw.randint(1, 4))]
        whole = {
            "properties": {name: schema(2) for name in names},
            "required": names[:2],
            "$defs": {"D": {"type": "object", "properties": {"d": {"$ref": "#/$defs/D"}, "n": {"type": "integer"}}}},
        }
        spec = spec_of(whole)
        accepts = model_vocabulary(grammar(Task("1", "q", (spec,)), "schema"))
        value = from_schema(spec.schema, str(number_), Echo(spec, {}))
        if not list(validator(spec.schema).iter_errors(value)):
            ordered = {
                name: value[name]
                for name in sorted(
                    value, key=lambda n: (n not in spec.schema["required"], list(spec.schema["properties"]).index(n))
                )
            }
            assert accepts(turn(in_order(spec.schema, spec.schema, ordered))), (whole, value)
            tried += 1
    assert tried > 15


def in_order(schema, root, value):
    """Members in the order in which the grammar has them: required ones first."""
    from pastcli.api.schemas import members, resolve

    found = resolve(schema, root)
    for branch in found.get("anyOf", []):
        if not list(validator({**resolve(branch, root), "$defs": root.get("$defs", {})}).iter_errors(value)):
            return in_order(branch, root, value)
    if isinstance(value, list):
        return [in_order(found.get("items", {}), root, item) for item in value]
    if not isinstance(value, dict) or "enum" in found:
        return value
    properties, required = members(found, root)
    names = [name for name in properties if name in required] + [name for name in properties if name not in required]
    return {name: in_order(properties[name], root, value[name]) for name in names if name in value}


def test_flat_tools_are_as_they_were(model_vocabulary):  # noqa: F811
    spec = ToolSpec(
        "order", "", "", "order", schema=object_schema(Parameter("a"), Parameter("b", "integer"), Parameter("c", "any"))
    )
    accepts = model_vocabulary(grammar(Task("1", "q", (spec,)), "schema"))
    assert all(accepts(turn(one)) for one in ({}, {"a": "x"}, {"b": 1}, {"a": "x", "c": [1]}, {"b": -3, "c": None}))
    assert not any(accepts(turn(one)) for one in ({"b": "x"}, {"d": 1}, {"c": 1, "a": "x"}, "[]"))


def test_chains_and_thickets_of_references_end():
    """A chain longer than Python's stack, and definitions that each hold four others: 4^10 values if nobody counts."""
    import time

    from pastcli.tools.environments.simulator import SchemaSimulator

    chain = {
        f"S{n}": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/S{n + 1}", "description": "d"}}}
        for n in range(2000)
    }
    thicket = {
        f"T{n}": {
            "type": "object",
            "properties": {f"f{k}": {"$ref": f"#/$defs/T{(7 * n + k) % 300}"} for k in range(4)},
            "required": ["f0"],
        }
        for n in range(300)
    }
    start = time.perf_counter()
    for definitions, first in ((chain | {"S2000": {"type": "integer"}}, "S0"), (thicket, "T1")):
        spec = spec_of({"properties": {"x": {"$ref": f"#/$defs/{first}"}}, "$defs": definitions})
        assert len(grammar(Task("1", "q", (spec,)), "schema")) < 2_000_000
        answering = ToolSpec("g", "", "", "g", schema=spec.schema, response_schema=spec.schema)
        assert len(json.dumps(SchemaSimulator([answering]).call(answering, {}).to_dict())) < 200_000
    assert time.perf_counter() - start < 30
