"""Lessons from documentation: deterministic, solvable, nothing of a test in what trains, nothing shared between the sides."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from conftest import QUICKSTART
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rl_tools import parameter, row

from pastcli.api import Observation, Parameter, Task, ToolSpec, object_schema
from pastcli.config import LessonsConfig
from pastcli.errors import MismatchError, UsageError
from pastcli.ingest import read_pairs, read_questions, sniff
from pastcli.tools.environments.simulator import SchemaSimulator
from pastcli.tools.judging.reference import reference
from pastcli.tools.judging.rules import rules
from pastcli.tools.learning import lessons, queries, recall, split, wording
from pastcli.tools.learning.written import write_queries
from pastcli.tools.load import load_tools, read_tools

NAMES = ("city", "date", "user id", "page", "currency", "imdbID", "language", "amount", "class", "q")
KINDS = ("string", "integer", "number", "boolean", "any")
RESPONSES = (
    {"name": "str", "rating": "float", "opened": "int"},
    {"data": [{"title": "str", "year": "int", "_list_length": 3}]},
    {"total": "int", "items": [{"id": "str", "_list_length": 2}]},
    {},
    None,
)


@st.composite
def apis(draw, category="Travel"):
    """An API as real ones are: loose types, defaults, enumerations, descriptions that say much or nothing."""
    parameters = []
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True)):
        kind = draw(st.sampled_from(KINDS))
        enum = ("red", "blue") if kind == "string" and draw(st.booleans()) else ()
        parameters.append(
            Parameter(
                name=name.replace(" ", "_").lower(),
                raw_name=name,
                type=kind,
                required=draw(st.booleans()),
                enum=enum,
                description=draw(st.sampled_from(("", "the city of departure", "A number. See the manual for more."))),
                default="Oslo" if kind == "string" and not enum and draw(st.booleans()) else None,
            )
        )
    tool = draw(st.sampled_from(("Ferries", "Air Quality", "👋 Demo")))
    api = draw(st.sampled_from(("Get Fare", "search", "/v1/items/{id}", "Details")))
    return ToolSpec(
        name=f"{api}_for_{tool}".lower().replace(" ", "_"),
        category=category,
        tool=tool,
        api=api,
        description=draw(st.sampled_from(("", "Returns the fare of a sailing.", "Détails: tout."))),
        schema=object_schema(*parameters),
        aliases={p.raw_name: p.name for p in parameters if p.raw_name != p.name},
        response_template=draw(st.sampled_from(RESPONSES)),
    )


SETS = st.lists(apis(), min_size=1, max_size=5, unique_by=lambda spec: spec.key)
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def texts(made):
    """Everything that training sees: of rows, and of the invented runs."""
    return [json.dumps(row) for row in made.rows] + [run.task.query for run in made.runs]


@SLOW
@given(SETS, st.integers(0, 3))
def test_lessons_are_the_same_every_time_and_others_with_another_seed(specs, seed):
    first, again = (lessons.make(specs, LessonsConfig(seed=seed)) for _ in range(2))
    assert (first.rows, first.recall, first.tests, first.practice) == (
        again.rows,
        again.recall,
        again.tests,
        again.practice,
    )
    other = lessons.make(specs, LessonsConfig(seed=seed + 1))
    asked = [task.query for task in first.tests if task.reference.calls[0].arguments]
    assert not asked or [task.query for task in other.tests] != [task.query for task in first.tests]


@SLOW
@given(SETS)
def test_every_query_can_be_solved_by_two_judges_that_share_no_code(specs):
    made = lessons.make(specs, LessonsConfig())
    env = SchemaSimulator(specs, [*made.tests, *made.practice])  # as where the file is used
    for task in [*made.tests, *made.practice, *(run.task for run in made.runs)]:
        [call] = task.reference.calls
        spec = next(spec for spec in task.tools if spec.key == call.key)
        arguments = {name: allowed[0] for name, allowed in call.arguments.items()}
        seen = env.call(spec, arguments)
        assert not seen.error and {p.name for p in spec.parameters if p.required} <= set(arguments)
        episode = queries.solved(task, queries.Call(spec, arguments, seen), f"It is {task.reference.answer}.")
        assert reference.judge(episode).label == "Solved"
        assert (
            rules.judge(queries.solved(task, queries.Call(spec, arguments, seen), _stated(made, task))).label
            == "Solved"
        )
        silent = replace(episode, steps=episode.steps[-1:], answer="I do not know.")
        assert {rules.judge(silent).label, reference.judge(silent).label} == {"Unsolved"}


def _stated(made, task):
    """The answer in the words of its own question."""
    value = task.reference.answer
    words = next(w for w in _asked_for(task.query))
    return f"The {words} is {value}."


def _asked_for(query):
    import re

    for pattern in (
        r"know the (.+?)\.$",
        r"question about the (.+?)\. What",
        r"I need the (.+?)\. ",
        r"What is the (.+?)\?",
        r"Tell me the (.+?)\.$",
        r"Which (.+?) does it give\?$",
    ):
        found = re.search(pattern, query)
        if found:
            yield found[1]


@SLOW
@given(SETS)
def test_no_question_or_query_of_a_test_is_in_what_trains(specs):
    made = lessons.make(specs, LessonsConfig())
    seen = "\n".join([*texts(made), *(task.query for task in made.practice)])
    for question in made.recall:
        assert json.dumps(question["question"])[1:-1] not in seen
    for task in made.tests:
        assert task.query not in seen
    trained = {
        json.dumps([call.key, dict(call.arguments)])
        for task in [*made.practice, *(r.task for r in made.runs)]
        for call in task.reference.calls
        if call.arguments
    }
    tested = {
        json.dumps([c.key, dict(c.arguments)]) for task in made.tests for c in task.reference.calls if c.arguments
    }
    assert not trained & tested


def test_no_wording_is_both_learnt_and_held_out():
    for learnt, held in [*recall.WORDINGS.values(), (queries.LEARNT, queries.HELD_OUT)]:
        assert learnt and held and not set(learnt) & set(held)
        frames = [{text.split("{")[0] for text in part if text.split("{")[0].strip()} for part in (learnt, held)]
        assert not frames[0] & frames[1]


@pytest.mark.parametrize("form", ["toolbench", "openai", "openapi", "mcp"])
def test_a_written_file_reads_back_as_the_tools_that_were_written(tmp_path, form):
    function = {
        "name": "get.fare",
        "description": "Returns the fare.",
        "parameters": {
            "type": "object",
            "properties": {
                "id": {"type": "integer", "minimum": 3},
                "from": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
                "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
            },
            "required": ["from"],
        },
    }
    operation = {
        "operationId": "fare",
        "parameters": [
            {"name": "late", "in": "query", "schema": {"type": "boolean"}},
            {"name": "id", "in": "query", "required": True, "schema": {"type": "string", "pattern": "^S"}},
        ],
        "responses": {
            "200": {
                "content": {
                    "application/json": {"schema": {"type": "object", "properties": {"fare": {"type": "integer"}}}}
                }
            }
        },
    }
    files = {
        "openai": [{"type": "function", "function": function}],
        "openapi": {"openapi": "3.0.0", "info": {"title": "Ferries"}, "paths": {"/fare": {"get": operation}}},
        "mcp": {"tools": [{"name": "get.fare", "inputSchema": function["parameters"]}]},
    }
    path = QUICKSTART / "toolbench.json"
    if form != "toolbench":
        path = tmp_path / "tools.json"
        path.write_text(json.dumps(files[form]))
    found = read_tools(path)
    tasks = [Task(str(n), f"query {n}", (spec,), (spec.key,)) for n, spec in enumerate(found.specs)]
    write_queries(tmp_path / "q.json", tasks)
    again = load_tools(tmp_path / "q.json")
    assert [task.tools[0] for task in again.tasks] == list(found.specs)
    for one, other in zip(again.tasks, found.specs):
        assert one.tools[0].parameters == other.parameters  # in the same order


# ---------------------------------------------------------------- the split


def api(category, tool, name="get"):
    return ToolSpec(
        f"{name}_for_{tool}".lower(), category, tool, name, schema=object_schema(Parameter("q", required=True))
    )


SHARED = [
    api("Movies", "IMDB"),
    api("Entertainment", "imdb"),
    api("Music", "Songs"),
    api("Food", "Recipes"),
    api("News", "Press"),
]
ASKED = [Task("1", "What is on?", (SHARED[2],)), Task("2", "what is  on?", (SHARED[3],))]


def test_sides_that_share_a_tool_or_a_query_are_refused_by_its_name():
    with pytest.raises(MismatchError, match="the tool imdb"):
        split.part(SHARED, ASKED, ["Movies"], ["Entertainment"], 0, 0)
    with pytest.raises(MismatchError, match="what is on"):
        split.part(SHARED, ASKED, ["Music"], ["Food"], 0, 0)
    with pytest.raises(MismatchError, match="Movies is a category of the source and of the target"):
        split.part(SHARED, ASKED, ["Movies"], ["Movies"], 0, 0)
    with pytest.raises(UsageError, match="Moves"):
        split.part(SHARED, ASKED, ["Moves"], ["Food"], 0, 0)


def test_a_source_that_is_not_named_is_all_that_shares_nothing_with_the_target():
    sides = split.part(SHARED, ASKED, [], ["Movies"], 0, 0)
    assert sides == split.Sides(("Music", "Food", "News"), ("Movies",), ("Entertainment",))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ABCDEF"), st.sampled_from(["t1", "T1", "t2", "t3", "t4", "t5"])),
        min_size=2,
        unique=True,
    ),
    st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=2), max_size=4),
    st.floats(0.05, 0.9),
    st.integers(0, 9),
)
def test_a_draw_never_parts_what_hangs_together(pairs, asked, share, seed):
    specs = [api(category, tool) for category, tool in pairs]
    tasks = [Task(str(n), f"q{n % 2}", tuple(specs[i % len(specs)] for i in used)) for n, used in enumerate(asked)]
    try:
        sides = split.part(specs, tasks, [], [], share, seed)
    except UsageError:
        return
    assert sides == split.part(specs, tasks, [], [], share, seed)
    assert sides.source and sides.target and not set(sides.source) & set(sides.target)
    assert set(sides.source) | set(sides.target) == {spec.category for spec in specs}
    assert split.common(specs, tasks, sides.source, sides.target) == []


# ---------------------------------------------------------------- the command


@pytest.fixture
def tools(tmp_path):
    """A ToolBench file of two categories without, and one with, a tool of a name that another category has too."""

    def row(category, tool, name, parameter):
        return {
            "category_name": category,
            "tool_name": tool,
            "api_name": name,
            "api_description": f"Returns the {name.lower()} of a thing.",
            "required_parameters": [{"name": parameter, "type": "STRING", "description": "", "default": ""}],
            "optional_parameters": [],
            "method": "GET",
            "template_response": {"title": "str", "price": "float", "stock": "int"},
        }

    rows = [
        [row("Books", "Library", "Loan", "isbn"), row("Books", "Shop", "Offer", "edition")],
        [row("Boats", "Harbour", "Berth", "vessel"), row("Boats", "Shop", "Offer", "edition")],
        [row("Birds", "Watch", "Sighting", "species")],
    ]
    entries = [
        {
            "query": f"query {n}?",
            "query_id": n,
            "api_list": apis,
            "relevant APIs": [[apis[0]["tool_name"], apis[0]["api_name"]]],
        }
        for n, apis in enumerate(rows)
    ]
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(entries))
    return path


def test_ingest_makes_what_sft_eval_and_agent_read(past_json, tools):
    made = past_json("ingest", "--tools", tools, "--target", "Birds", "--prompt", "brief", "--observation-chars", 200)
    out, metrics = made["outputs"], made["metrics"]
    assert metrics["categories"] == ["Books", "Boats"] and metrics["target_categories"] == ["Birds"]
    assert sniff(__import__("pathlib").Path(out["corpus"])) == "pairs"
    from pathlib import Path

    rows = read_pairs(Path(out["corpus"]))
    assert len(rows) == metrics["texts"] + metrics["episodes"] and any("parts" in row for row in rows)
    asked = read_questions(Path(out["recall"]))
    assert {question.doc for question in asked} == {"Books/Library", "Books/Shop", "Boats/Harbour", "Boats/Shop"}
    loaded = load_tools(Path(out["target_test_queries"]))
    assert loaded.format == "ToolBench queries" and loaded.warnings.items == []
    assert {spec.category for spec in loaded.specs} == {"Birds"} and all(task.reference for task in loaded.tasks)
    assert {spec.category for spec in load_tools(Path(out["queries"])).specs} == {"Books", "Boats"}
    assert [task.query for task in load_tools(Path(out["target_own_queries"])).tasks] == ["query 2?"]
    again = past_json("ingest", "--tools", tools, "--target", "Birds", "--prompt", "brief", "--observation-chars", 200)
    for name, path in out.items():
        assert Path(path).read_bytes() == Path(again["outputs"][name]).read_bytes(), name


def test_ingest_refuses_sides_that_overlap_and_options_that_mean_nothing(past, tools):
    shared = past("ingest", "--tools", tools, "--category", "Books", "--target", "Boats", code=3).stderr
    assert "the tool Shop" in shared
    left = past("ingest", "--tools", tools, "--target", "Boats").stderr
    assert "left out of both sides" in left and "Books" in left
    assert "Bird" in past("ingest", "--tools", tools, "--category", "Bird", code=2).stderr
    assert "kind" in past("ingest", "--tools", tools, "--kinds", "poem", code=2).stderr
    assert "--tools" in past("ingest", tools, "--category", "Books", code=2).stderr
    assert "different corpora" in past("ingest", tools, "--tools", tools, code=2).stderr


def test_the_runs_of_the_corpus_are_those_that_the_agent_would_see(past_json, tools):
    from pathlib import Path

    from pastcli.agent.drivers import form_of
    from pastcli.config import AgentConfig

    made = past_json("ingest", "--tools", tools, "--category", "Birds", "--prompt", "brief")
    [task, *_] = load_tools(Path(made["outputs"]["test_queries"])).tasks
    opening = form_of(AgentConfig(prompt="brief")).messages(task)[0].to_dict()
    rows = [row for row in read_pairs(Path(made["outputs"]["corpus"])) if "parts" in row]
    assert opening in [row["messages"][0] for row in rows]
    assert "species" not in opening["content"]


def test_texts_and_runs_alone_are_still_a_file_of_pairs(past_json, tools):
    """`past sft` tells files by their first row: were that a plain text, the runs would be no documents and be lost."""
    from pathlib import Path

    made = past_json("ingest", "--tools", tools, "--category", "Birds", "--kinds", "card", "--kinds", "react")
    corpus = Path(made["outputs"]["corpus"])
    rows = read_pairs(corpus)
    assert sniff(corpus) == "pairs" and ["parts" in row for row in rows] == [True, True, False]


class Speaker:
    """A chat model that keeps the first query's values, drops those of every second, and says the third unchanged."""

    def __init__(self):
        self.asked = []

    def chat(self, messages, sampling):
        from pastcli.api import Completion

        query = messages[-1].content
        self.asked.append(query)
        kind = len(self.asked) % 3
        words = {1: f"<think>Hm.</think>\n\nCould you help me? {query}", 2: "Could you help me?", 0: query}
        return Completion(words[kind])


def test_a_chat_model_may_rephrase_and_what_it_spoils_stays_as_it_was():
    specs = [api("C", f"T{n}") for n in range(3)]
    specs = [replace(spec, response_template={"name": "str", "stock": "int"}) for spec in specs]
    config, speaker = LessonsConfig(queries=1, test_queries=1, examples=1), Speaker()
    plain, spoken = lessons.make(specs, config), lessons.make(specs, config, chat=speaker)
    assert [run.task for run in spoken.runs] == [run.task for run in plain.runs]
    both = [*spoken.practice, *spoken.tests]
    new = [task for task in both if task.query.startswith("Could you help me?")]
    assert 0 < len(new) < len(both) and spoken.left_out["rephrased: not the same request any more"] > 0
    for task in both:
        [call] = task.reference.calls
        assert all(str(value[0]) in task.query for value in call.arguments.values())


def test_words_of_documentation_that_says_nothing_useful():
    spec = ToolSpec("f", "C", "Tool", "/titles/{id}", "Détails", schema=object_schema(Parameter("id", raw_name="id")))
    assert wording.does(spec) == "get titles id"
    assert wording.given(spec, {"id": "T-1"}) == " for id: T-1"
    needed = replace(spec, schema=object_schema(Parameter("id", raw_name="id", required=True)))
    assert wording.given(needed, {"id": "T-1"}) == " for T-1"
    parameters = Parameter("from_city", required=True), Parameter("to", description="where it ends", required=True)
    two = ToolSpec("f", "C", "T", "a", schema=object_schema(*parameters))
    assert wording.given(two, {"from_city": "Oslo", "to": "Bergen"}) == " for Oslo, where it ends: Bergen"
    assert (
        queries.names_its_arguments(
            Task("1", "Of user id 3", (spec,)), replace(spec, schema=object_schema(Parameter("user_id", required=True)))
        )
        == 1.0
    )


def test_what_a_question_cannot_name_is_not_asked():
    seen = {
        "a": 1,
        "b": {"a": 2},
        "ok": True,
        "u": "https://x",
        "long": "x" * 50,
        "same": "z",
        "other": "z",
        "given": "Oslo",
        "n": 5,
    }
    call = queries.Call(api("C", "T"), {"q": "Oslo"}, Observation("", seen))
    assert list(queries.askable(call, 1000)) == [("n", 5)]
    assert list(queries.askable(call, 60)) == []
    firsts = queries.Call(api("C", "T"), {}, Observation("", {"rows": [{"title": "A"}, {"title": "B"}]}))
    assert list(queries.askable(firsts, 1000)) == [("title of the first entry", "A")]


def test_of_many_apis_those_are_drawn_that_a_query_can_be_made_for():
    silent = [replace(api("C", f"Silent{n}"), response_template={"ok": "bool"}) for n in range(6)]
    telling = [replace(api("C", f"Telling{n}"), response_template={"name": "str", "stock": "int"}) for n in range(4)]
    specs = [spec for pair in zip(silent, telling, strict=False) for spec in pair]
    config = LessonsConfig(apis=3, seed=1)
    kept = lessons.drawn(specs, config)
    assert len(kept) == 3 and {spec.tool for spec in kept} <= {spec.tool for spec in telling}
    assert kept == lessons.drawn(specs, config) and kept == [spec for spec in specs if spec in kept]
    made = lessons.make(kept, config)
    assert made.counts()["apis_without_query"] == 0


def of_few_calls(name, *values):
    """An API that can be called in as many ways as there are values."""
    needs = object_schema(Parameter("colour", "string", required=True, enum=values))
    return replace(api("C", name), schema=needs, response_template={"name": "str", "stock": "int"})


def test_of_an_api_that_can_be_called_in_few_ways_every_use_has_a_query():
    """Practice took all, and the API was learnt and never tested: five of twenty in a study of real ones."""
    config = LessonsConfig(queries=5, test_queries=3, examples=2)
    colours = ("red", "green", "blue", "black")
    made = lessons.make([of_few_calls("Paint", *colours)], config)
    assert (len(made.runs), len(made.practice), len(made.tests)) == (2, 1, 1)
    asked = [*(run.task.query for run in made.runs), made.practice[0].query, made.tests[0].query]
    assert sorted(colour for query in asked for colour in colours if colour in query) == sorted(colours)


def test_no_api_is_drawn_that_cannot_be_both_practised_and_tested():
    specs = [
        of_few_calls("One", "red"),
        of_few_calls("Many", "red", "green", "blue"),
        of_few_calls("Two", "red", "green"),
    ]
    kept = lessons.drawn(specs, LessonsConfig(apis=3, kinds=["card"], queries=5, test_queries=3))
    assert [spec.tool for spec in kept] == ["Many", "Two"]
    assert [
        spec.tool for spec in lessons.drawn(specs, LessonsConfig(apis=3, kinds=["card"], queries=5, test_queries=0))
    ] == ["One", "Many", "Two"]


def test_who_asks_for_one_category_is_warned_of_no_other(past, workspace):
    """StableToolBench's own file: 49 categories, and `--category Movies` told of thousands of fields nobody had asked for."""

    def entry(category, kind):
        parameters = [{"name": "city", "type": kind, "description": "where", "default": ""}]
        row = {
            "category_name": category,
            "tool_name": f"{category} Desk",
            "api_name": "find",
            "api_description": "finds",
        }
        row |= {"method": "GET", "required_parameters": parameters, "optional_parameters": [], "template_response": {}}
        return {"query": f"Find Oslo in {category}", "query_id": category, "api_list": [row], "relevant APIs": []}

    (workspace / "tools.json").write_text(json.dumps([entry("Movies", "STRING"), entry("Finance", "MYSTERY")]))
    words = ("ingest", "--tools", "tools.json", "--dry-run")
    assert "T02 ×1" in past(*words).stderr and "T02 ×1" in past(*words, "--category", "Finance").stderr
    assert "T0" not in past(*words, "--category", "Movies").stderr


def written_rows(path, *rows):
    """ToolBench queries of one API each."""
    path.write_text(
        json.dumps(
            [
                {"query": f"Query {n}", "query_id": n, "api_list": [one], "relevant APIs": [["Till", one["api_name"]]]}
                for n, one in enumerate(rows)
            ]
        )
    )
    return path


def test_no_query_lists_two_values_that_could_be_one_and_none_asks_for_a_failure(past_json, past, workspace):
    """Met in the transcripts of a training: "generate a code for 426, 13" was called with one text "426, 13" and Solved, and of a
    service of which only an error is documented the type of that error was asked for."""
    code = row("Tools", "Till", "generate code", parameter("data"), template={"name": "str", "status": "str"})
    code["optional_parameters"] = [parameter("size"), parameter("margin")]
    broken = row("Tools", "Till", "detect", parameter("text"), template={"error": {"code": "int", "type": "str"}})
    half = row("Tools", "Till", "look", parameter("text"), template={"error": {"kind": "str"}, "data": {"kind": "str"}})
    written_rows(workspace / "tools.json", code, broken, half)
    past_json("ingest", "--tools", "tools.json", "--name", "made", "--queries", "12", "--test-queries", "8")
    made = [
        one
        for name in ("queries", "test_queries")
        for one in json.loads((workspace / f"runs/made/{name}.json").read_text())
    ]
    names = Counter(one["relevant APIs"][0][1] for one in made)
    assert names["generate code"] >= 16 and names["look"] >= 16 and names["detect"] == 0
    assert not any(", " in one["query"].split(" for ")[-1].split("?")[0] for one in made if "code" in one["query"])
    seen = past("ingest", "--tools", "tools.json", "--name", "again", "--queries", "12").stderr
    assert "values that could be taken for one" in seen
