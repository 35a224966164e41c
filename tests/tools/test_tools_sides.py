"""What two sides of a tools file may share: nothing, whatever the tools call themselves; and what a query may mean: one function."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rl_tools import parameter, row

from pastcli.tools.load import load_tools

STOCK = {"title": "str", "stock": "int", "owner": "str"}


def api(category, tool, name, *required, about=""):
    made = row(category, tool, name, *map(parameter, required), template=STOCK)
    return made | {"api_description": about}


@pytest.fixture
def tools(tmp_path):
    """`tools(*apis)`: a file with a query for each."""

    def written(*apis):
        path = tmp_path / "tools.json"
        path.write_text(
            json.dumps(
                [
                    {
                        "query": f"q{n}",
                        "query_id": n,
                        "api_list": [one],
                        "relevant APIs": [[one["tool_name"], one["api_name"]]],
                    }
                    for n, one in enumerate(apis)
                ]
            )
        )
        return path

    return written


def functions(path):
    return {(spec.tool, spec.api) for spec in load_tools(Path(path)).specs}


PETS = api("Data", "Pet Store", "getPetById", "petId"), api("Data", "Pet Store", "feed", "brand")
COPIES = api("Other", "team petstore", "get_pet_by_id", "pet-id"), api("Other", "team petstore", "Shelf", "aisle")


@pytest.mark.parametrize("few", [(), ("--apis", 1)], ids=["all", "drawn"])
def test_an_api_that_the_target_has_under_another_tools_name_is_no_source(past, past_json, tools, few):
    """Who has practised getPetById of one pet shop has practised it of every other: RapidAPI is full of such copies."""
    sides = ("--category", "Data", "--target", "Other", *few)
    made = past_json("ingest", "--tools", tools(*PETS, *COPIES[:1]), *sides)
    assert functions(made["outputs"]["target_queries"]) == {("team petstore", "get_pet_by_id")}
    for name in ("queries", "test_queries", "own_queries"):
        assert functions(made["outputs"][name]) == {("Pet Store", "feed")}, name
    assert "getpetbyid" not in Path(made["outputs"]["corpus"]).read_text().lower()
    assert made["metrics"]["copies_left_out"] == 1 and made["metrics"]["target_copies_left_out"] == 0
    told = past("ingest", "--tools", tools(*PETS, *COPIES[:1]), *sides, "--dry-run").stderr
    assert "left out of the source" in told and "Pet Store / getPetById" in told


def test_a_source_that_is_nothing_but_copies_is_refused(past, tools):
    told = past("ingest", "--tools", tools(PETS[0], *COPIES), "--category", "Data", "--target", "Other", code=2).stderr
    assert "no API is left for the source: 1 have the name and the parameters of another side's" in told


def test_copies_are_no_unrelated_tools_of_a_study_either(tools, tmp_path):
    """Whole runs of a copy would show how the target is called."""
    from pastcli.study.tools.data import materials
    from pastcli.study.tools.spec import load

    path = tools(api("Boats", "Quay", "Berth", "hull"), *COPIES, PETS[0], api("Data", "Pet Store", "walk", "path"))
    (tmp_path / "study.toml").write_text(
        f'[tools]\nfiles = ["{path.name}"]\nsource = ["Boats"]\ntarget = ["Other"]\nunrelated = ["Data"]\n'
    )
    made = materials(load(tmp_path / "study.toml"), tmp_path / "data")
    shown = made.format.read_text().lower()
    assert "walk_for_pet_store" in shown and "getpetbyid" not in shown and made.unrelated["apis"] == 1


def test_tools_named_in_another_script_are_different_tools(past, past_json, tools):
    """Only ASCII and CJK survive in a function's name: all others were one tool without a name, which both sides had."""
    path = tools(
        api("Nature", "Погода", "Now", "city"),
        api("Culture", "Кино", "Show", "title"),
        api("Sky", "погода!", "Sun", "day"),
    )
    made = past_json("ingest", "--tools", path, "--category", "Nature", "--target", "Culture")
    assert functions(made["outputs"]["target_queries"]) == {("Кино", "Show")}
    told = past("ingest", "--tools", path, "--category", "Nature", "--target", "Sky", code=3).stderr
    assert "source and target share the tool погода!" in told


def test_a_query_is_shown_no_other_function_that_its_words_ask_for(past_json, tools):
    """Two APIs of one tool that are described alike: "Can Chunk get a random quote?" was right for one and meant the other."""
    same = {"about": "Get a random quote"}
    path = tools(
        *(api("Fun", "Chunk", name, "q", **same) for name in ("Quote", "Colour")), api("Fun", "Chunk", "Word", "w")
    )
    out = past_json("ingest", "--tools", path)["outputs"]
    for name in ("queries", "test_queries"):
        tasks = load_tools(Path(out[name])).tasks
        assert {key[2] for task in tasks for key in task.relevant} == {"Quote", "Colour", "Word"}
        for task in tasks:
            shown = {spec.api for spec in task.tools}
            assert not {"Quote", "Colour"} <= shown or task.relevant[0][2] == "Word", task.query


def asked_of_bfcl(number, name, *required):
    given = {name: {"type": "integer"} for name in required}
    function = {
        "name": name,
        "description": "Calculate it.",
        "parameters": {"type": "dict", "properties": given, "required": [*required]},
    }
    truth = [{name: {parameter: [number] for parameter in required}}]
    return {
        "id": f"simple_{number}",
        "question": [[{"role": "user", "content": f"q{number}"}]],
        "function": [function],
        "ground_truth": truth,
    }


def test_a_function_of_bfcl_is_no_function_of_a_question(past_json, tmp_path):
    """ "The function area of simple_0", and once more under another name for every question that needs it."""
    path = tmp_path / "bfcl.jsonl"
    rows = [
        asked_of_bfcl(0, "area", "base"),
        asked_of_bfcl(1, "area", "base"),
        asked_of_bfcl(2, "sum", "a"),
        asked_of_bfcl(3, "sum", "b"),
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    made = past_json("ingest", "--tools", path, "--kinds", "card")
    cards = [json.loads(line)["text"] for line in Path(made["outputs"]["corpus"]).read_text().splitlines()]
    assert cards[0].splitlines()[:2] == ["area", "The function area (functions) can get area."]
    assert len(cards) == made["metrics"]["apis"] == 3, "two functions of one name are two"
    own = load_tools(Path(made["outputs"]["own_queries"])).tasks
    assert [task.tools[0].name for task in own[:2]] == ["area", "area"] and own[2].tools[0].name != own[3].tools[0].name
    assert all(task.relevant == (task.tools[0].key,) for task in own)


def test_a_query_says_which_of_the_arguments_that_may_be_left_out_it_gives(past_json, tools):
    """ "Make a PDF for 127": as its width or as its height? Only one of them was counted as right."""
    sizes = [
        {**parameter(name, kind="NUMBER"), "description": "Must be one of: many"}
        for name in ("width", "height", "depth")
    ]
    one = api("Print", "Paper", "Make PDF", "page") | {"optional_parameters": sizes}
    out = past_json("ingest", "--tools", tools(one), "--queries", 12, "--test-queries", 12)["outputs"]
    given = [task for name in ("queries", "test_queries") for task in load_tools(Path(out[name])).tasks]
    assert sum(len(task.reference.calls[0].arguments) > 1 for task in given) > 4
    for task in given:
        for name, [value] in task.reference.calls[0].arguments.items():
            assert (f"{name}: {value}" in task.query) == (name != "page"), task.query


@pytest.mark.parametrize("how", [("--target", "openapi"), ("--target-share", 0.5)])
def test_files_that_know_no_categories_are_not_said_to_share_a_tool(past, tmp_path, how):
    """Two services in OpenAPI are both of the category `openapi`: "every other category shares a tool or a query with the target"."""
    for name in ("boats", "planes"):
        given = {"name": "id", "in": "query", "required": True, "schema": {"type": "string"}}
        paths = {f"/{name}": {"get": {"operationId": name, "summary": f"Get {name}", "parameters": [given]}}}
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"openapi": "3.0.0", "info": {"title": name}, "paths": paths})
        )
    files = [word for name in ("boats", "planes") for word in ("--tools", tmp_path / f"{name}.json")]
    told = past("ingest", *files, *how, code=2).stderr
    assert "all these tools are of one category, 'openapi': there is nothing to part" in told and "of its own" in told
