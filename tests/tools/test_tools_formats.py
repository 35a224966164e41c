"""Every tools format: told apart by content, read whole, broken parts warned about. Loaded through the one entry."""

import json

import pytest
import yaml

from pastcli.errors import UsageError
from pastcli.installed import EntryPoint
from pastcli.tools.formats.functions import shown_name
from pastcli.tools.load import load_tools, read_tools
from pastcli.tools.validate import check
from pastcli.tools.warnings import Warnings

SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
FUNCTION = {"name": "forecast", "description": "Weather.", "parameters": SCHEMA}
MCP_TOOL = {
    "name": "Weather.Get",
    "inputSchema": SCHEMA,
    "outputSchema": {"type": "object", "properties": {"c": {"type": "number"}}},
}
ROW = {
    "name": "Get Forecast",
    "url": "https://x",
    "description": None,
    "method": "GET",
    "required_parameters": [{"name": "Place", "type": "STRING", "description": "", "default": ""}],
    "optional_parameters": [],
}
TOOL = {"tool_name": "Sky!", "tool_description": None, "api_list": [ROW, {**ROW, "name": "From"}], "title": "Sky"}
QUERY = {
    "query": "Rain?",
    "query_id": 1,
    "api_list": [
        {**ROW, "api_name": "Get Forecast", "tool_name": "Sky!", "category_name": "Weather", "api_description": ""}
    ],
}
BFCL = {
    "id": "simple_0",
    "question": [[{"role": "user", "content": "Rain in Oslo?"}]],
    "function": [{**FUNCTION, "name": "sky.rain", "parameters": {**SCHEMA, "type": "dict"}}],
}
OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "Sky"},
    "paths": {"/rain": {"get": {"operationId": "getRain", "responses": {}}}},
}


@pytest.fixture
def load(tmp_path):
    def call(content, name="tools.json", **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return read_tools(path, **options)

    return call


@pytest.mark.parametrize(
    ("content", "format", "names"),
    [
        ([FUNCTION], "OpenAI functions", ["forecast"]),
        ({"type": "function", "function": FUNCTION}, "OpenAI functions", ["forecast"]),
        (
            {
                "model": "m",
                "messages": [],
                "tools": [{"type": "function", "function": {"name": "now", "description": "d"}}],
            },
            "OpenAI functions",
            ["now"],
        ),
        ({"functions": [{"name": "now", "description": "d"}]}, "OpenAI functions", ["now"]),
        ([{"name": "forecast", "description": "", "input_schema": SCHEMA}], "OpenAI functions", ["forecast"]),
        ({"tools": [MCP_TOOL]}, "MCP tools/list", ["Weather.Get"]),
        ({"jsonrpc": "2.0", "id": 1, "result": {"tools": [MCP_TOOL]}}, "MCP tools/list", ["Weather.Get"]),
        ([MCP_TOOL], "MCP tools/list", ["Weather.Get"]),
        (TOOL, "ToolBench toolenv", ["get_forecast_for_sky", "is_from_for_sky"]),
        ([QUERY], "ToolBench queries", ["get_forecast_for_sky"]),
        (json.dumps(BFCL) + "\n" + json.dumps({"id": "broken"}), "BFCL", ["sky.rain"]),
        (OPENAPI, "OpenAPI", ["getRain"]),
    ],
)
def test_formats_are_told_apart_by_content(load, content, format, names):
    found = load(content)
    assert (found.format, [spec.name for spec in found.specs]) == (format, names)
    assert found.environment == "simulator"


def test_a_toolenv_file_is_a_tool_and_no_query(load, tmp_path):
    found = load({**TOOL, "tool_description": "d"}, "toolenv/tools/Weather/sky.json")
    assert found.tasks == () and [spec.key for spec in found.specs] == [
        ("Weather", "Sky!", "Get Forecast"),
        ("Weather", "Sky!", "From"),
    ]
    with pytest.raises(UsageError, match="no queries"):
        load_tools(tmp_path / "toolenv/tools/Weather/sky.json")


def test_a_folder_of_tools_is_read_whole_and_nothing_in_it_is_run(load, tmp_path):
    folder = tmp_path / "tools"
    for category, tool in (("Weather", "sky"), ("Music", "songs")):
        load({**TOOL, "tool_name": tool}, f"tools/{category}/{tool}.json")
        (folder / category / tool).mkdir()
        (folder / category / tool / "api.py").write_text("raise SystemExit('run')")
    load(yaml.safe_dump(OPENAPI), "tools/more.yaml")
    for name, content in (("bad.json", "{"), ("other.json", '{"a": 1}'), ("empty.json", "")):
        (folder / name).write_text(content)
    (folder / "circle").symlink_to(folder)
    found = read_tools(folder)
    assert {spec.key[:2] for spec in found.specs} == {("Weather", "sky"), ("Music", "songs"), ("openapi", "Sky")}
    assert found.warnings.counts()["T12"] == 3 and set(found.format.split(" + ")) == {"ToolBench toolenv", "OpenAPI"}
    with pytest.raises(UsageError, match="T12"):
        read_tools(folder, strict=True)
    with pytest.raises(UsageError, match="no file below"):
        read_tools(folder / "Music" / "songs")


def test_a_toolenv_response_is_documented_by_its_schema_or_example(load):
    example = {**ROW, "statuscode": 200, "body": {"ok": True, "place": "Bergen"}}
    schema = {**ROW, "name": "s", "schema": {"type": "object", "properties": {"c": {"type": "float"}}}}
    one, two = load({**TOOL, "api_list": [example, schema]}).specs
    assert one.response_template == {"ok": True, "place": "Bergen"} and one.response_schema is None
    assert two.response_schema["properties"]["c"]["type"] == "number"


def test_mcp_lists_keep_case_and_dots_and_say_when_there_is_more(load):
    names = ["Weather.Get", "weather.get", "a/b c", "x" * 80]
    found = load(
        [
            {"tools": [{**MCP_TOOL, "name": names[0]}], "nextCursor": "2"},
            {"tools": [{**MCP_TOOL, "name": name} for name in names[1:]] + [7], "nextCursor": "3"},
        ]
    )
    assert [spec.api for spec in found.specs] == names and [spec.name for spec in found.specs][:3] == [
        *names[:2],
        "a_b_c",
    ]
    assert found.specs[0].response_schema["properties"]["c"] == {"type": "number"}
    assert {"T13", "T09", "T01"} <= set(found.warnings.counts())


def test_bfcl_brings_questions_tools_and_the_calls_that_are_right(load, tmp_path):
    (tmp_path / "possible_answer").mkdir()
    truth = {
        "id": "simple_0",
        "ground_truth": [{"sky.rain": {"place": ["Oslo", "oslo"], "days": [3, ""]}}, {"other": {}}],
    }
    (tmp_path / "possible_answer" / "BFCL.json").write_text(json.dumps(truth))
    functions = {
        **BFCL,
        "function": [
            {
                **BFCL["function"][0],
                "parameters": {
                    "type": "dict",
                    "required": ["place", ""],
                    "properties": {
                        "place": {"type": "string"},
                        "days": {"type": "float"},
                        "pair": {"type": "tuple", "items": {"type": "integer"}},
                        "x": {"type": "any"},
                    },
                },
            }
        ],
    }
    turns = {
        **BFCL,
        "id": "m",
        "question": [
            [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
            [{"role": "user", "content": "later"}],
        ],
    }
    found = load("\n".join(map(json.dumps, [functions, turns])), "BFCL.json")
    assert [(task.id, task.query) for task in found.tasks] == [("simple_0", "Rain in Oslo?"), ("m", "S\nU")]
    call = found.tasks[0].expected_calls[0]
    assert call.key == found.tasks[0].tools[0].key and call.arguments == {"place": ("Oslo", "oslo"), "days": (3, "")}
    assert (
        call.optional == {"days"}
        and found.tasks[0].relevant == (call.key,)
        and found.warnings.counts() == {"T07": 1, "T14": 1}
    )
    spec = found.tasks[0].tools[0]
    assert [(p.name, p.type, p.required) for p in spec.parameters] == [
        ("place", "string", True),
        ("days", "number", False),
        ("pair", "array", False),
        ("x", "any", False),
    ]


def test_what_a_bfcl_user_says_may_come_in_parts_and_is_never_made_up(load):
    parts = [{"type": "text", "text": "Rain"}, {"type": "image"}, {"type": "text", "text": "in Oslo?"}]
    silent = {"role": "user", "content": None}
    spoken = [[silent, {"role": "user", "content": parts}]]
    rows = [{**BFCL, "id": "parts", "question": spoken}, {**BFCL, "id": "none", "question": [[silent]]}]
    found = load("\n".join(map(json.dumps, rows)), "BFCL.json")
    assert [(task.id, task.query) for task in found.tasks] == [("parts", "Rain\nin Oslo?")]
    assert found.warnings.items == [("T01", "entry none: no text; left out")]


def test_one_api_in_two_files_is_one_api_and_a_difference_is_said(load, tmp_path):
    load([QUERY], "all/a.json")
    load([{**QUERY, "api_list": [{**QUERY["api_list"][0], "api_description": "other"}]}], "all/b.json")
    found = read_tools(tmp_path / "all")
    one, two = found.tasks
    assert one.tools[0] is two.tools[0] is found.specs[0] and (one.id, two.id) == ("1", "1#2")
    assert any("described differently" in text for kind, text in found.warnings.items if kind == "T06")


# ---------------------------------------------------------------- OpenAPI

PETS = {
    "openapi": "3.0.3",
    "info": {"title": "Pets"},
    "paths": {
        "/pets/{petId}": {
            "parameters": [
                {"$ref": "#/components/parameters/PetId"},
                {"name": "lang", "in": "query", "schema": {"type": "string", "enum": ["en", "no"]}},
            ],
            "get": {
                "operationId": "getPet",
                "summary": "One pet.",
                "parameters": [
                    {
                        "name": "lang",
                        "in": "query",
                        "required": True,
                        "description": "Language",
                        "schema": {"type": "string", "nullable": True},
                    },
                    {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                ],
                "responses": {
                    "404": {"description": "no"},
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}},
                },
            },
            "patch": {
                "operationId": "getPet",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}},
            },
            "delete": {"requestBody": {"$ref": "#/components/requestBodies/Any"}},
        },
        "/pets": {
            "post": {
                "operationId": "add a pet, with a name that is far longer than any function name may be allowed to be",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            }
        },
        "/circle": {
            "get": {
                "operationId": "circle",
                "parameters": [
                    {"name": "q", "in": "query", "schema": {"$ref": "#/components/schemas/A"}},
                    {"name": "far", "in": "query", "schema": {"$ref": "other.yaml#/X"}},
                    {
                        "name": "f",
                        "in": "query",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                    },
                    5,
                ],
            }
        },
    },
    "components": {
        "parameters": {
            "PetId": {
                "name": "petId",
                "in": "path",
                "schema": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            }
        },
        "requestBodies": {"Any": {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}},
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name", "id"],
                "properties": {
                    "id": {"type": "integer", "readOnly": True},
                    "name": {"type": "string", "maxLength": 5},
                    "parent": {"nullable": True, "allOf": [{"$ref": "#/components/schemas/Pet"}]},
                    "tags": {"type": "array", "maxItems": 2, "items": {"$ref": "#/components/schemas/Tag"}},
                },
            },
            "Tag": {"type": "string", "enum": ["a", "b"]},
            "A": {"$ref": "#/components/schemas/B"},
            "B": {"$ref": "#/components/schemas/A"},
        },
    },
}


@pytest.mark.parametrize("name", ["pets.json", "pets.yaml"])
def test_openapi_operations_become_tools_with_their_whole_schemas(load, name):
    found = load(yaml.safe_dump(PETS, sort_keys=False) if name.endswith("yaml") else PETS, name)
    get, patch, delete, add, circle = found.specs
    assert [spec.name for spec in found.specs][:3] == ["getPet", "patch_pets_petid", "delete_pets_petid"] and len(
        add.name
    ) <= 64
    assert (get.description, get.method) == ("One pet.", "GET")
    assert [(p.name, p.type, p.required, p.description) for p in get.parameters] == [
        ("petId", "integer", True, ""),
        ("lang", "string", True, "Language"),
    ]
    assert check(get, {"petId": 0, "lang": None})[0] == 'parameter "petId" must be more than 0'
    assert get.response_schema["$defs"]["Pet"]["properties"]["name"]["maxLength"] == 5
    body = {"name": "Rex", "parent": {"name": "Ada", "id": 1, "parent": None}, "tags": ["a"]}
    assert check(add, body)[0] == "" and check(patch, {"petId": 1})[0] == ""
    assert check(add, {"name": "Methuselah", "tags": ["c"], "parent": {"name": 3}})[0] == (
        'parameter "name" must have at most 5 characters; parameter "tags[0]" must be one of ["a", "b"]; '
        'parameter "parent" fits none of the forms allowed'
    )
    assert check(add, {"id": 1, "name": "Rex"})[0] == 'unknown parameter "id"'
    assert check(patch, {"petId": 1, "tags": []})[0]  # a body that is sent must be whole
    assert check(delete, {"petId": 1, "body": "x"})[0] == "" and check(delete, {"petId": 1})[0]
    assert check(circle, {"q": 1, "far": [], "f": {"name": "x", "id": 1}})[0] == ""
    assert {"T01", "T05", "T09", "T10"} <= set(found.warnings.counts())


def test_references_are_written_as_urls_are(load):
    """`%20` is a blank in a fragment, and `~1` a slash; a definition gets a name that needs neither."""
    document = {
        **OPENAPI,
        "paths": {"/a": {"get": {"operationId": "x", "parameters": [{"$ref": "#/components/parameters/a~1b%20c"}]}}},
        "components": {
            "parameters": {"a/b c": {"name": "q", "in": "query", "schema": {"$ref": "#/components/schemas/Big%20Pet"}}},
            "schemas": {"Big Pet": {"type": "string", "maxLength": 2}},
        },
    }
    found = load(document)
    assert not found.warnings.items and check(found.specs[0], {"q": "ab"})[0] == ""
    assert check(found.specs[0], {"q": "abc"})[0] == 'parameter "q" must have at most 2 characters'
    odd = {**OPENAPI, "paths": {"/a": {"get": {"operationId": "x", "parameters": {"q": 1}}}}}
    assert load(odd).warnings.items == [("T01", "GET /a: parameters is no list; taken as none")]


def test_names_that_clash_between_places_are_told_apart(load):
    place = lambda where: {"name": "id", "in": where, "schema": {"type": "string"}}  # noqa: E731
    operation = {
        "operationId": "x",
        "parameters": [place("path"), place("query")],
        "requestBody": {
            "content": {
                "application/json": {"schema": {"type": "object", "properties": {"id_path": {"type": "integer"}}}}
            }
        },
    }
    spec = load({**OPENAPI, "paths": {"/{id}": {"get": operation}}}).specs[0]
    assert [p.name for p in spec.parameters] == ["id_path", "id_query", "body"]


def test_a_long_chain_of_definitions_and_a_big_document_are_read(load):
    chain = {
        f"S{n}": {"type": "object", "properties": {"next": {"$ref": f"#/components/schemas/S{n + 1}"}}}
        for n in range(3000)
    }
    chain["S3000"] = {"type": "integer"}
    operation = {
        "operationId": "x",
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}},
    }
    spec = load({**OPENAPI, "paths": {"/a": {"post": operation}}, "components": {"schemas": chain}}).specs[0]
    assert len(spec.schema["$defs"]) == 3000 and check(spec, {"next": {"next": 3}})[0]


def test_yaml_is_read_as_json_would_be(load):
    text = "openapi: '3.0.0'\npaths:\n  /a:\n    get:\n      operationId: x\n      parameters:\n      - {name: c, in: query, schema: {type: string, enum: [NO, yes, 2024-01-02]}}\n      responses: {200: {description: d}}\n"
    assert load(text, "a.yaml").specs[0].parameters[0].enum == ("NO", "yes", "2024-01-02")


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "!!python/object/apply:os.system ['true']",
        "a: [",
        "\n".join(
            ["x0: &x0 [l, l, l, l, l, l, l, l, l, l]"]
            + [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9)]
        ),
    ],
    ids=["circle", "python", "broken", "billion laughs"],
)
def test_hostile_yaml_is_refused(load, text):
    with pytest.raises(UsageError) as caught:
        load(text, "a.yaml")
    assert "YAML" in caught.value.message


def test_a_strangers_format_is_asked_before_ours_and_a_broken_one_spoils_nothing(load, monkeypatch):
    from pastcli import registry

    class Mine:
        NAME = "mine"

        def accepts(self, document):
            return "mine" in document.value

        def read(self, document, warnings):
            return [], load([FUNCTION], "other.json").specs

    plugins = [
        EntryPoint("past.tool_formats", "mine", "x:y", "stranger"),
        EntryPoint("past.tool_formats", "broken", "no_such_module_at_all", "stranger"),
    ]
    real, real_load = registry.names, registry.load
    monkeypatch.setattr(
        registry, "names", lambda role: [*plugins, *real(role)] if role == "tool_format" else real(role)
    )
    monkeypatch.setattr(registry, "load", lambda role, name: Mine() if name == "mine" else real_load(role, name))
    assert load({"mine": 1, "functions": [FUNCTION]}).format == "mine"
    assert load([FUNCTION]).format == "OpenAI functions"


# ---------------------------------------------------------------- anything at all

JUNK = [
    None,
    True,
    0,
    -1.5,
    "",
    "x",
    "#/x",
    "#",
    [],
    {},
    [None],
    {"$ref": "#"},
    {"type": 3},
    [[1]],
    "\ud800",
    "a" * 300,
    {"a": {"b": []}},
]


def damaged(value, draw, chance):
    """A copy of a document with some of its parts replaced, left out, doubled or moved."""
    if draw.random() < chance:
        return draw.choice(JUNK)
    if isinstance(value, dict):
        items = [(key, damaged(item, draw, chance)) for key, item in value.items() if draw.random() > chance / 2]
        return dict(items) | ({draw.choice(list(value)): draw.choice(JUNK)} if value and draw.random() < chance else {})
    if isinstance(value, list):
        return [damaged(item, draw, chance) for item in value for _ in range(2 if draw.random() < chance / 2 else 1)]
    return value


@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_of_every_format_are_read_or_refused_and_their_tools_answer(load, seed):
    import random

    from pastcli.tools.environments.llm import documentation
    from pastcli.tools.environments.simulator import SchemaSimulator
    from pastcli.tools.server.app import described
    from pastcli.tools.server.protocol import encode

    draw = random.Random(seed)
    whole = [[FUNCTION], {"tools": [MCP_TOOL]}, TOOL, [QUERY], [BFCL], PETS, {"functions": [FUNCTION]}]
    read = 0
    for _ in range(60):
        try:
            found = load(json.dumps(damaged(draw.choice(whole), draw, draw.choice((0.02, 0.08, 0.2)))))
        except UsageError:
            continue
        read += 1
        simulator = SchemaSimulator(found.specs, found.tasks)
        assert len({spec.name for spec in found.specs}) == len(found.specs)
        for spec in found.specs:
            assert 0 < len(spec.name) <= 64 and spec.schema["type"] == "object"
            for arguments in ({}, {p.name: draw.choice(JUNK) for p in spec.parameters}, draw.choice(JUNK)):
                encode(simulator.call(spec, arguments).to_dict())
            encode(described(spec)), documentation(spec)
    assert read > 10


def test_beside_a_good_answer_the_default_one_is_the_error(tmp_path):
    """The petstore documents a 201 without content and an error as `default`: a pet that was made was answered with an error."""
    error = {
        "content": {"application/json": {"schema": {"type": "object", "properties": {"fault": {"type": "string"}}}}}
    }
    pet = {"content": {"application/json": {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}}}}
    methods = {
        "post": {"operationId": "make", "responses": {"default": error, "201": {"description": "made"}}},
        "get": {"operationId": "see", "responses": {"default": error, "2XX": pet}},
        "put": {"operationId": "only", "responses": {"default": pet}},
    }
    path = tmp_path / "openapi.json"
    path.write_text(
        json.dumps({"openapi": "3.0.0", "info": {"title": "Pets", "version": "1"}, "paths": {"/pets": methods}})
    )
    specs = {spec.api: spec for spec in read_tools(path).specs}
    assert not specs["make"].response_schema
    assert [list(specs[name].response_schema["properties"]) for name in ("see", "only")] == [["name"], ["name"]]


def test_a_functions_name_keeps_its_letters_and_nothing_that_cannot_be_seen():
    names = {
        "search flights!": "search_flights",
        "Прогноз погоды": "Прогноз_погоды",
        "größe.ändern": "größe.ändern",
        "gro\u0308\u00dfe": "größe",
        "查询 天气": "查询_天气",
        "☂\ufe0f": "",
        "a\u200bб": "a_б",
        "ж" * 70: "ж" * 64,
    }
    assert {name: shown_name(name, "it", Warnings()) for name in names} == names
