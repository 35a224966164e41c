"""Tools: names, file formats, validation, simulator. Small fixtures in ToolBench's and OpenAI's shapes."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pastcli.api import Parameter, ToolSpec, object_schema
from pastcli.errors import UsageError
from pastcli.tools import names
from pastcli.tools.environments.simulator import SchemaSimulator, cache_key
from pastcli.tools.formats.rapidapi import whole_part
from pastcli.tools.load import load_tools
from pastcli.tools.types import canonical, is_of
from pastcli.tools.validate import check

FERRY = {
    "category_name": "Transport",
    "tool_name": "Skelvik Ferries!",
    "api_name": "Get Sailings",
    "method": "GET",
    "api_description": "Sailings of one day.",
    "required_parameters": [
        {"name": "fromHarbour", "type": "STRING", "description": "", "default": "Pennymoor"},
        {"name": "id", "type": "NUMBER", "description": "number", "default": "7"},
    ],
    "optional_parameters": [{"name": "date", "type": "DATE (YYYY-MM-DD)", "description": "day", "default": ""}],
    "template_response": {
        "id": "int",
        "fromHarbour": "str",
        "open": "bool",
        "nothing": "NoneType",
        "sailings": [{"id": "str", "fare": "float", "_list_length": 9}],
        "stops": ["list of str with length 8"],
        "empty": "empty list",
        "unit": "kilometres",
    },
}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def queries(*apis, **changes):
    return [
        {
            "query": "Which sailings?",
            "query_id": 28,
            "api_list": list(apis),
            "relevant APIs": [["Skelvik Ferries!", "Get Sailings"]],
            **changes,
        }
    ]


@pytest.fixture
def load(tmp_path):
    return lambda content, *asked, **options: load_tools(
        write(tmp_path / "tools.json", content), list(asked), **options
    )


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("List Artist-Concerts", "list_artist_concerts"),
        ("2. go!", "get_2_go"),
        ("__A__b  c__", "a_b_c"),
        ("Größe", "gr_e"),
        ("查询 X", "查询_x"),
        ("!!!", ""),
    ],
)
def test_standardize_follows_toolbench(raw, name):
    assert names.standardize(raw) == name


@given(st.text())
def test_standardized_names_are_stable_and_legal(text):
    name = names.standardize(text)
    assert names.standardize(name) == name
    assert not name or (not name[0].isdigit() and name.strip("_") == name)


def test_reserved_words_get_is_and_names_are_cut_at_the_end():
    assert names.exposed_parameter("ID") == "is_id" and names.exposed_parameter("From") == "is_from"
    long = names.exposed_api("a tool with a very long name " * 3, "an api")
    assert len(long) == 64 and long.endswith("a_tool_with_a_very_long_name")


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "x!", "X"]), st.sampled_from(["y", "y?", "z" * 80])),
        unique=True,
    )
)
def test_colliding_names_become_distinct_whatever_their_order(keys):
    def named(order):
        return dict(
            zip(order, names.distinct([names.exposed_api(key[1], key[2]) for key in order], order), strict=True)
        )

    found = named(keys)
    assert len(set(found.values())) == len(keys) and found == named(keys[::-1])
    assert all(0 < len(name) <= 64 for name in found.values())


# ---------------------------------------------------------------- files


def test_toolbench_query_file(load):
    found = load(queries(FERRY))
    task = found.tasks[0]
    spec = task.tools[0]
    assert found.format == "ToolBench queries" and found.warnings.items == []
    assert (task.id, task.relevant) == ("28", (("Transport", "Skelvik Ferries!", "Get Sailings"),))
    assert spec.name == "get_sailings_for_skelvik_ferries" and spec.key == task.relevant[0]
    assert [(p.name, p.type, p.required, p.default) for p in spec.parameters] == [
        ("fromharbour", "string", True, "Pennymoor"),
        ("is_id", "number", True, 7),
        ("date", "string", False, None),
    ]


def test_broken_fields_are_numbered_warnings_and_errors_when_strict(load, tmp_path):
    broken = copy.deepcopy(FERRY)
    broken |= {
        "api_description": None,
        "method": 3,
        "template_response": json.dumps(FERRY["template_response"])[:120],
        "optional_parameters": None,
    }
    broken["required_parameters"] += [
        {"name": "x", "type": "FROB", "description": None, "default": []},
        {"name": "id", "type": "NUMBER"},
        {"type": "STRING"},
        5,
        {"name": "e", "type": "ENUM", "description": "", "default": 1},
    ]
    same = FERRY | {"tool_name": "Skelvik Ferries?"}
    found = load(
        queries(broken, same, FERRY, None, {"api_name": "bare"}, **{"relevant APIs": [["nobody", "knows"], 3]})
        + [{"query": 1}, None]
        + queries(FERRY)
    )
    assert set(found.warnings.counts()) == {"T01", "T02", "T03", "T04", "T05", "T06", "T07", "T08"}
    assert [task.id for task in found.tasks] == ["28", "28#2"]
    tools = found.tasks[0].tools
    assert len({spec.name for spec in tools}) == len(tools) == 3
    assert all(f"{kind} ×" in line for kind, line in zip(found.warnings.counts(), found.warnings.lines(), strict=True))
    with pytest.raises(UsageError, match="T0"):
        load_tools(tmp_path / "tools.json", strict=True)


def test_templates_cut_off_keep_their_whole_part():
    assert whole_part('{"a": "str", "b": [{"c": "in,t", "d": "fl') == {"a": "str", "b": [{"c": "in,t"}]}
    assert whole_part('{"a') is None and whole_part("") is None and whole_part("[" * 100_000 + ",") is None


@settings(max_examples=60)
@given(
    st.recursive(
        st.text(max_size=6) | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    st.integers(0, 80),
)
def test_any_cut_of_any_template_is_survived(template, cut):
    whole_part(json.dumps(template)[:cut])


FUNCTION = {
    "name": "get_forecast",
    "description": "Weather.",
    "parameters": {
        "type": "object",
        "required": ["place"],
        "properties": {
            "place": {"type": "string"},
            "days": {"type": "integer", "default": 3},
            "units": {"enum": ["metric", "imperial"], "type": "string"},
        },
    },
}
FLAT = {"type": "function", **FUNCTION}
WRAPPED = {"type": "function", "function": FUNCTION}
ANTHROPIC = {"name": "get_forecast", "description": "Weather.", "input_schema": FUNCTION["parameters"]}


@pytest.mark.parametrize(
    "content",
    [
        [WRAPPED],
        [FLAT],
        [FUNCTION],
        [ANTHROPIC],
        WRAPPED,
        {"tools": [WRAPPED]},
        {"functions": [FUNCTION]},
        json.dumps(WRAPPED) + "\n" + json.dumps(WRAPPED | {"function": FUNCTION | {"name": "other"}}) + "\n",
        "\ufeff" + json.dumps([FLAT]),
    ],
)
def test_openai_functions_in_every_shape(load, content):
    found = load(content, "Rain in Orrenby?", "And tomorrow?")
    spec = found.tasks[0].tools[0]
    assert found.format == "OpenAI functions" and [task.query for task in found.tasks] == [
        "Rain in Orrenby?",
        "And tomorrow?",
    ]
    assert (spec.name, [(p.name, p.type, p.required, p.enum) for p in spec.parameters]) == (
        "get_forecast",
        [
            ("place", "string", True, ()),
            ("days", "integer", False, ()),
            ("units", "string", False, ("metric", "imperial")),
        ],
    )
    assert found.tasks[0].relevant == ()


def test_hostile_function_schemas(load):
    """Circular and dangling references, Python type names, null descriptions, illegal, empty and reserved names."""
    node = {
        "$defs": {"Node": {"$ref": "#/$defs/Other"}, "Other": {"$ref": "#/$defs/Node"}},
        "required": ["", "gone", 3],
    }
    node["properties"] = {
        "circle": {"$ref": "#/$defs/Node"},
        "lost": {"$ref": "#/nowhere"},
        "far": {"$ref": "http://x/y"},
        "d": {"type": "dict"},
        "f": {"type": "float"},
        "t": {"type": "tuple"},
        "n": {"type": ["string", "null"]},
        "u": {"type": "frob"},
        "b": True,
        "e": {"enum": []},
        "k": {"const": "v"},
        "o": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    }
    functions = [
        {"name": name, "description": None, "parameters": node} for name in ("a b", "a_b", "Finish", "!!!", "x" * 80)
    ]
    functions += [{"name": "none", "parameters": None}, {"name": "text", "parameters": "x"}, {"type": "function"}, 7]
    found = load(functions, "q")
    tools = found.tasks[0].tools
    assert len({spec.name for spec in tools}) == len(tools) == 7
    assert "Finish" not in {spec.name for spec in tools} and all(0 < len(spec.name) <= 64 for spec in tools)
    types = {p.name: p.type for p in tools[0].parameters}
    assert types == {
        "circle": "any",
        "lost": "any",
        "far": "any",
        "d": "object",
        "f": "number",
        "t": "array",
        "n": "string",
        "u": "any",
        "b": "any",
        "e": "any",
        "k": "any",
        "o": "integer",
    }
    assert not any(p.required for p in tools[0].parameters)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "  ",
        "[]",
        "{}",
        "null",
        "3",
        '{"openapi": "3.1.0", "paths": {}}',
        "[[1]]",
        "not json",
        '{"a": 1}\n{"b"',
        "[" * 100_000,
    ],
)
def test_other_files_are_refused_in_one_line(load, content):
    with pytest.raises(UsageError) as caught:
        load(content, "q")
    assert "\n" not in caught.value.message and "tools.json" in caught.value.message


def test_unreadable_files_and_missing_queries_say_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="no tools file"):
        load_tools(tmp_path / "gone.json")
    (tmp_path / "latin.json").write_bytes('["é"]'.encode("latin-1"))
    with pytest.raises(UsageError, match="cannot be read"):
        load_tools(tmp_path / "latin.json")
    with pytest.raises(UsageError) as caught:
        load_tools(write(tmp_path / "f.json", [FUNCTION]))
    assert "--query" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        load_tools(write(tmp_path / "other.json", {"things": [{"name": "x"}]}))
    assert all(name in caught.value.hint for name in ("ToolBench", "OpenAI", "OpenAPI", "MCP", "BFCL", "Python module"))


# ---------------------------------------------------------------- validation and simulator


@pytest.fixture
def spec(load):
    return load(queries(FERRY)).tasks[0].tools[0]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"fromharbour": "x", "is_id": 1}, ""),
        ({"fromHarbour": "x", "id": 1.5, "date": "2024-02-29"}, ""),
        (
            {"fromHarbour": "x", "id": 1.5, "date": "2023-02-29"},
            'parameter "date" must be a date that exists, as YYYY-MM-DD',
        ),
        ([1], "the input must be a JSON object, not an array"),
        ("x", "the input must be a JSON object, not a string"),
        (None, "the input must be a JSON object, not null"),
        ({}, 'missing required parameter "fromharbour"; missing required parameter "is_id"'),
        (
            {"fromharbour": 3, "is_id": []},
            'parameter "fromharbour" must be a string, not an integer; '
            'parameter "is_id" must be a number, not an array',
        ),
        ({"fromharbour": "x", "is_id": 1, "port": 2}, 'unknown parameter "port"'),
        ({"fromharbour": "x", "is_id": 1, "id": 1}, 'parameter "is_id" is given twice'),
        (
            {"fromharbour": "x", "is_id": True, "date": None},
            'parameter "is_id" must be a number, not a boolean; parameter "date" must be a string, not null',
        ),
    ],
)
def test_validation_names_every_fault(spec, arguments, error):
    assert check(spec, arguments)[0] == error


def test_enumerations_are_checked():
    spec = ToolSpec("f", "", "", "f", schema=object_schema(Parameter("u", enum=("metric", "imperial"))))
    assert check(spec, {"u": "metric"})[0] == ""
    assert check(spec, {"u": "miles"})[0] == 'parameter "u" must be one of ["metric", "imperial"]'


def test_the_simulator_fills_the_template_and_echoes_arguments(spec):
    response = SchemaSimulator([spec]).call(spec, {"fromHarbour": "Ansgate", "id": 12}).response
    assert (response["id"], response["fromHarbour"], response["nothing"], response["empty"], response["unit"]) == (
        12,
        "Ansgate",
        None,
        [],
        "kilometres",
    )
    assert isinstance(response["open"], bool) and len(response["sailings"]) == len(response["stops"]) == 3
    assert len({item["id"] for item in response["sailings"]}) == 3 and isinstance(
        response["sailings"][0]["fare"], float
    )


def test_equal_calls_get_equal_answers_in_any_spelling_and_order(spec):
    """The answer below is pinned: it must not change between machines, runs or Python versions."""
    one = SchemaSimulator([spec]).call(spec, {"is_id": 3, "fromharbour": "x"})
    two = SchemaSimulator([spec]).call(spec, {"fromHarbour": "x", "id": 3})
    other = SchemaSimulator([spec]).call(spec, {"fromHarbour": "x", "id": 4})
    assert one == two and one.response["sailings"] != other.response["sailings"]
    assert cache_key(spec, {"a": 1, "b": 2}) == cache_key(spec, {"b": 2, "a": 1})
    assert one.response["sailings"][0] == PINNED


PINNED = {"id": "I4661-10", "fare": 33.64}


def test_errors_are_observations_never_exceptions(spec):
    simulator = SchemaSimulator([spec])
    stranger = ToolSpec("f", "c", "t", "a")
    assert simulator.call(stranger, {}).to_dict() == {"error": "unknown API t / a", "response": ""}
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    anything = ToolSpec("g", "", "", "g", schema=object_schema(Parameter("x", "any")))
    for value in (deep, {1, 2}, b"x", float("nan"), "\ud800"):
        SchemaSimulator([anything]).call(anything, {"x": value})


def test_an_api_without_template_answers_from_its_name():
    spec = ToolSpec("f", "", "", "Get Order Status", schema=object_schema(Parameter("order_id", required=True)))
    response = SchemaSimulator([spec]).call(spec, {"order_id": "FT-2088"}).response
    assert response["order_id"] == "FT-2088" and set(response["order_status"]) >= {"name", "status"}


@pytest.mark.parametrize(
    "spelling", ["STRING", "Enum", "DATE (YYYY-MM-DD)", "float", "tuple", "dict", "BINARY", "TIME (24-hour HH:MM)"]
)
def test_type_spellings_are_known(spelling):
    assert canonical(spelling)


def test_numbers_follow_json_schema():
    assert is_of(3.0, "integer") and not is_of(3.5, "integer") and is_of(3, "number") and not is_of(True, "integer")
