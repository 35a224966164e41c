"""JSON Schema end to end: what loading mends, what validation says, what the flat view and the prompt show."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pastcli.agent.prompts import schema as shown
from pastcli.api import ToolSpec
from pastcli.tools.load import load_tools
from pastcli.tools.schemas import normalise
from pastcli.tools.validate import check
from pastcli.tools.warnings import Warnings

ORDER = {
    "type": "object",
    "required": ["items"],
    "properties": {
        "items": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/Item"}},
        "rush": {"type": "boolean", "default": False},
    },
    "$defs": {
        "Item": {
            "type": "object",
            "required": ["sku", "count"],
            "additionalProperties": False,
            "properties": {
                "sku": {"type": "string", "pattern": "^[A-Z]{2}-\\d+$"},
                "count": {"type": "integer", "minimum": 1, "maximum": 7},
                "colour": {"enum": ["red", "navy"]},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
            },
        }
    },
}


def spec_of(schema, warnings=None):
    return ToolSpec("f", "c", "t", "f", schema=normalise(schema, "function f", warnings or Warnings()))


def fault(schema, arguments):
    return check(spec_of(schema), arguments)[0]


def of_one(value, given):
    """The fault of one argument `x` documented by `value`."""
    return fault({"properties": {"x": value}}, {"x": given})


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"items": [{"sku": "AB-1", "count": 7}]}, ""),
        ({"items": [{"sku": "AB-1", "count": 8}]}, 'parameter "items[0].count" must be at most 7'),
        ({"items": [{"sku": "AB-1"}]}, 'missing required parameter "items[0].count"'),
        ({"items": []}, 'parameter "items" must have at least 1 items'),
        ({"items": [{"sku": "x", "count": 1}]}, 'parameter "items[0].sku" must match the pattern "^[A-Z]{2}-\\\\d+$"'),
        ({"items": [{"sku": "AB-1", "count": 1, "size": 2}]}, 'unknown parameter "items[0].size"'),
        (
            {"items": [{"sku": "AB-1", "count": 1, "colour": "x", "parts": [{"sku": "AB-2", "count": "2"}]}]},
            'parameter "items[0].colour" must be one of ["red", "navy"]; '
            'parameter "items[0].parts[0].count" must be an integer, not a string',
        ),
        ({"rush": 1}, 'parameter "rush" must be a boolean, not an integer; missing required parameter "items"'),
    ],
)
def test_nested_fields_items_bounds_and_references_are_validated(arguments, error):
    assert fault(ORDER, arguments) == error


def test_the_whole_schema_comes_through_a_file_to_prompt_and_flat_view(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"name": "order", "description": "", "parameters": ORDER}]))
    spec = load_tools(path, ["q"]).tasks[0].tools[0]
    assert spec.schema["$defs"] == ORDER["$defs"] and spec.schema["properties"] == ORDER["properties"]
    assert shown(spec)["parameters"]["$defs"]["Item"]["properties"]["count"]["maximum"] == 7
    assert [(p.name, p.type, p.required, p.default) for p in spec.parameters] == [
        ("items", "array", True, None),
        ("rush", "boolean", False, False),
    ]
    assert spec.parameter("items").schema["maxItems"] == 2


@pytest.mark.parametrize(
    ("value", "good", "bad"),
    [
        ({"type": "integer", "maximum": 7}, [7, 7.0], [8, 1.5, True, "7"]),
        ({"type": "float", "exclusiveMinimum": True, "minimum": 0}, [0.1], [0]),
        ({"type": "number", "multipleOf": 0.1}, [0.3, 2], [0.35]),
        ({"type": "string", "nullable": True, "enum": ["a"]}, ["a", None], ["b", 0]),
        ({"type": ["string", "integer"]}, ["a", 1], [1.5, None]),
        (
            {"type": "dict", "properties": {"n": {"type": "int", "minimum": "2"}}, "required": ["n"]},
            [{"n": 2}],
            [{}, {"n": 1}],
        ),
        (
            {"type": "tuple", "items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False},
            [[1, "a"]],
            [["a"], [1, "a", 2]],
        ),
        ({"type": "any"}, [1, None, {}], []),
        ({"type": "string", "format": "date"}, ["2024-02-29"], ["2023-02-29", "20240229", "tomorrow"]),
        ({"type": "string", "format": "date-time"}, ["2024-02-29T10:00:00Z"], ["noon"]),
        ({"type": "array", "uniqueItems": True}, [[1, "1", True]], [[1, 1.0], [{"a": 1}, {"a": 1}]]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab"], ["a", "abcd"]),
        ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, [1, False], ["x"]),
        ({"oneOf": [{"type": "integer"}, {"minimum": 5}]}, [3, 5.5], [6, 1.5]),
        ({"const": "v"}, ["v"], ["w"]),
        (False, [], [1, None]),
    ],
)
def test_dialects_are_mended_into_one(value, good, bad):
    assert [given for given in good if of_one(value, given)] == []
    assert [given for given in bad if not of_one(value, given)] == []


@pytest.mark.parametrize(
    ("schema", "warned"),
    [
        (
            {
                "properties": {"x": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
            },
            "T10",
        ),
        ({"properties": {"x": {"$ref": "https://example.com/s.json"}}}, "T10"),
        ({"properties": {"x": {"$ref": "#/description"}}, "description": "d"}, "T10"),
        ({"properties": {"x": {"pattern": "("}}}, "T11"),
        ({"properties": {"x": {"type": "integer", "maximum": "many"}}}, "T11"),
        ({"properties": {"x": {"type": "frob"}}}, "T02"),
        ({"properties": {"x": {"allOf": 3}}}, "T01"),
        ({"properties": 3}, "T01"),
        ({"type": "string"}, "T01"),
        ("text", "T01"),
    ],
)
def test_what_cannot_be_used_is_dropped_with_a_warning(schema, warned):
    warnings = Warnings()
    spec = spec_of(schema, warnings)
    assert warned in warnings.counts()
    if "x" in spec.schema["properties"]:
        assert check(spec, {"x": 5})[0] == ""


def test_anchors_and_references_to_the_root_are_followed():
    anchored = {"properties": {"x": {"$ref": "#a"}}, "$defs": {"A": {"$anchor": "a", "type": "integer"}}}
    assert fault(anchored, {"x": "1"}) and not fault(anchored, {"x": 1})
    tree = {"$id": "https://x", "properties": {"n": {"type": "integer"}, "next": {"$ref": "#"}}}
    assert fault(tree, {"next": {"next": {"n": "1"}}}) == 'parameter "next.next.n" must be an integer, not a string'


def test_only_strangers_are_called_unknown():
    """A model that is told that a good name is unknown gives the good name up."""
    number = {"type": "integer"}
    patterned = {"properties": {"a": number}, "patternProperties": {"^x_": number}, "additionalProperties": False}
    assert of_one(patterned, {"a": 1, "x_1": 2}) == ""
    assert of_one(patterned, {"a": 1, "x_1": 2, "b": 3}) == 'unknown parameter "x.b"'
    branched = {"properties": {"a": number}, "allOf": [{"properties": {"c": number}}], "unevaluatedProperties": False}
    assert of_one(branched, {"a": 1, "c": 2}) == ""
    assert of_one(branched, {"a": 1, "c": 2, "b": 3}) == 'unknown parameter "x.b"'
    either = {"anyOf": [{"properties": {"c": number}}, {"properties": {"d": number}}], "unevaluatedProperties": False}
    assert of_one(either, {"d": 1, "c": "no"})  # a fault in any case, although some branch names either


def test_members_of_branches_are_known_and_strangers_only_where_they_are_welcome():
    branches = {
        "anyOf": [
            {"properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {}}, "required": ["b"]},
        ]
    }
    assert fault(branches, {"a": "x"}) == "" and fault(branches, {"b": 1}) == ""
    assert fault(branches, {}) == "the input fits none of the forms allowed"
    assert fault(branches, {"a": "x", "c": 1}) == 'unknown parameter "c"'
    assert fault({"properties": {}, "additionalProperties": {"type": "integer"}}, {"c": 1}) == ""
    assert fault({"properties": {}, "additionalProperties": {"type": "integer"}}, {"c": "1"})
    assert [p.required for p in spec_of(branches).parameters] == [False, False]


def test_patterns_and_lists_made_to_take_for_ever_do_not():
    import time

    start = time.perf_counter()
    slow = {"type": "string", "pattern": "^(a|aa)+$"}
    of_one(slow, "a" * 60 + "b")
    of_one({"type": "array", "items": slow}, ["a" * 60 + "b"] * 1000)
    many = of_one({"type": "array", "items": {"type": "integer"}}, ["x"] * 100_000)
    assert many.endswith("and more of the kind") and len(many) < 2000
    assert len(fault({"properties": {}}, {f"n{n}": 1 for n in range(100_000)})) < 2000
    assert of_one({"type": "array", "uniqueItems": True}, [{"a": n} for n in range(20_000)] + [{"a": 1}])
    assert time.perf_counter() - start < 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["string", "object", "#/$defs/a", "#", "x", "("]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "type properties items $ref $defs a x anyOf allOf enum default minimum pattern required additionalProperties format nullable if then not".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JSON, JSON)
def test_any_schema_is_survived_and_gives_an_answer_in_words(schema, value):
    spec = spec_of(schema)
    assert spec.schema["type"] == "object"
    for arguments in (value, {"x": value, "a": value}):
        assert isinstance(check(spec, arguments)[0], str)
    assert all(p.type for p in spec.parameters)
    json.dumps(shown(spec))
