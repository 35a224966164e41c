"""The parser: the ten hostile inputs that text alone can hold, and the promise that any text gives a step."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pastcli.agent.arguments import MAX_DEPTH, parse_arguments
from pastcli.agent.parse import parse


def said(text, **options):
    step = parse(text, **options)
    return step.action, step.arguments, list(step.repairs), step.error


def test_a_plain_step():
    step = parse(' I need the fare.\nAction: get_fare_for_x\nAction Input: {"id": "SK-1"}')
    assert (step.thought, step.action, step.arguments, step.repairs, step.error) == (
        "I need the fare.",
        "get_fare_for_x",
        {"id": "SK-1"},
        (),
        "",
    )


@pytest.mark.parametrize(
    ("name", "parsed"),
    [("", ""), ("h", "h"), ("fare_for_x", "fare_for_x"), ("finish", "finish"), ("_private", "_private")],
)
def test_input_2_the_name_is_taken_as_it_is(name, parsed):
    step = parse(f"\nAction: {name}\nAction Input: {{}}")
    assert step.action == parsed and bool(step.error) == (not parsed)


def test_input_3_an_observation_of_the_models_own_ends_the_step():
    text = ' a\nAction: f\nAction Input: {"a": 1}'
    text += '\nObservation: {"response": "fine"}\nThought: b\nAction: Finish\nAction Input: {"final_answer": "x"}'
    step = parse(text)
    assert (step.action, step.repairs) == ("f", ("own_observation",))
    assert step.used == ' a\nAction: f\nAction Input: {"a": 1}' and text.startswith(step.used)


@pytest.mark.parametrize(
    ("text", "repairs"),
    [
        ("\n**Action**: f()\n**Action Input**: {}", ["markdown"]),
        ("\n**Action:** f\n**Action Input:** {}", ["markdown"]),
        ("\nAction: `f`\nAction Input: {}", ["quotes"]),
        ("\nAction: f()\nAction Input: {}", ["call_syntax"]),
        ("\nAction:f\nAction Input:{}", []),
        (" t\r\nAction: f\r\nAction Input: {}\r\n", []),
        ("\nAction: f\nAction Input:\n```json\n{}\n```\nDone.", ["fence"]),
        ("\nAction: f\nAction Input:", ["empty_input"]),
        ("\nAction 1: f\nAction Input 1: {}", []),
        ("<think>Action: x</think>\nAction: f\nAction Input: {}", []),
        ("Action: x</think>\nAction: f\nAction Input: {}", []),
        ("\naction: f\naction input: {}", []),
        ("Action: f\nAction Input: {} and then we wait", ["trailing_text"]),
    ],
)
def test_input_4_formats_models_invent(text, repairs):
    assert said(text) == ("f", {}, repairs, "")


@pytest.mark.parametrize(
    ("text", "action", "arguments"),
    [
        ('Action: f\nArguments: {"a": 1}', "f", {"a": 1}),
        ('Action: f\nInput: {"a": 1}', "f", {"a": 1}),
        ('Action: f\nParameters: {"a": 1}', "f", {"a": 1}),
        ('Action: f\n{"a": 1}', "f", {"a": 1}),
        ('Action: f({"a": 1})', "f", {"a": 1}),
        ('Action: f(a=1, b="x")', "f", {"a": 1, "b": "x"}),
        ('Action 2: f\nAction Input 2: {"a": 1}', "f", {"a": 1}),
        ('Action: f\nAction Input: {"a": "one\ntwo\tthree"}', "f", {"a": "one\ntwo\tthree"}),
        (
            'Action: f\nAction Input: {"a": "one\nAction: g\nObservation: no"}',
            "f",
            {"a": "one\nAction: g\nObservation: no"},
        ),
        ('I see.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', "f", {"a": 1}),
        ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}', "f", {"a": 1}),
        (
            "I know it.\nFinal Answer: It is 12.\nThanks",
            "Finish",
            {"return_type": "give_answer", "final_answer": "It is 12.\nThanks"},
        ),
        ('Input: looks odd.\nAction: f\nAction Input: {"a": 1}', "f", {"a": 1}),
    ],
)
def test_calls_in_other_spellings_keep_their_arguments(text, action, arguments):
    step = parse(text)
    assert (step.action, step.arguments, step.error) == (action, arguments, "")


@pytest.mark.parametrize(
    "text",
    [
        "Action: f",
        "Action: f\nThought: and now?",
        "Action: f(1, 2)",
        'Action: f\nWith {"a": 1}',
        'Action: f\nAction Input: {"a": 1} {"a": 2}',
        'Action: f({"a": 1})\nAction Input: {"a": 2}',
        '<tool_call>{"name": "f"}</tool_call>',
        '<tool_call>f {"a": 1}</tool_call>',
        "Action: f\nArguments: a = 1",
        "Action: f(",
        'Action: f\nAction Input: {"a": "\\ud800"}',
        'Action: f\nAction Input: {"\\udfff": 1}',
        "Action: f(a='\\ud800')",
        '<tool_call>{"name": "f", "arguments": {"a": "\\ud83d"}}</tool_call>',
    ],
)
def test_no_call_is_made_with_arguments_that_were_not_written(text):
    step = parse(text)
    assert step.error and step.arguments is None


def test_input_4_an_unclosed_thought_holds_no_action():
    assert parse("<think>\nAction: x\nAction Input: {}").action == ""


@pytest.mark.parametrize(("text", "value"), [("[1]", [1]), ('"x"', "x"), ("null", None), ("3", 3)])
def test_input_5_json_that_is_no_object_is_left_to_the_tool(text, value):
    assert parse_arguments(text) == (value, [], "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e999}', "out of range"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', 'duplicate key "c"'),
        ("[" * 10_000, f"deeper than {MAX_DEPTH}"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "longer"),
        ("9" * 5000, "digits"),
        ("-" * 9000 + "1", "JSON"),
    ],
)
def test_input_5_what_json_forbids_is_refused_by_name(text, problem):
    value, _, error = parse_arguments(text)
    assert value is None and problem in error and len(error) < 300


@pytest.mark.parametrize(
    ("text", "value", "repairs"),
    [
        ("{'a': None, 'b': (1, True)}", {"a": None, "b": [1, True]}, ["python_literal"]),
        ('{"a": [1, 2,], "b": "x,}",}', {"a": [1, 2], "b": "x,}"}, ["trailing_comma"]),
        ("```\n{'a': 1}\n```", {"a": 1}, ["fence", "python_literal"]),
    ],
)
def test_input_6_repairs_are_flagged(text, value, repairs):
    assert parse_arguments(text) == (value, repairs, "")


@pytest.mark.parametrize(
    "text", ['{"a": "he said "hi""}', "{a: 1}", "f(1)", "__import__('os')", "{1: 2}", "{'a': {1, 2}}", "{'a': b'x'}"]
)
def test_input_6_everything_else_is_asked_again_with_the_exact_error(text):
    value, _, error = parse_arguments(text)
    assert value is None and error.startswith("Action Input is not valid JSON: ")


def test_input_7_a_cut_generation_says_so():
    assert "cut off inside Action Input" in parse('\nAction: f\nAction Input: {"a": "tr', cut=True).error
    assert "cut off before an Action" in parse(" I wonder", cut=True).error
    assert "cut off before Action Input" in parse("\nAction: get_fare", cut=True).error
    assert parse("\nAction: f\nAction Input: {}\nThought: and", cut=True).error == ""
    assert said('\nAction: f\nAction Input: {"a": 1}', cut=True) == ("f", {"a": 1}, [], "")


def test_input_8_the_first_of_two_calls_counts():
    step = parse('\nAction: f\nAction Input: {}\nAction: Finish\nAction Input: {"final_answer": "x"}')
    assert (step.action, step.repairs, step.used) == ("f", ("extra_step",), "\nAction: f\nAction Input: {}")


FRAGMENTS = [
    "Action:",
    "Action Input:",
    "Observation",
    "\nThought: ",
    "\n",
    "{",
    "}",
    '"',
    "[",
    "'",
    ",",
    "```",
    "<think>",
    "</think>",
    "**",
    "\\",
    "\x00",
    "\ud800",
    "Finish",
    "1e9",
    "\r",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), max_size=40).map("".join), st.booleans())
def test_any_text_gives_a_step_that_can_be_written_and_continued(text, cut):
    step = parse(text, cut)
    assert text.startswith(step.used)
    json.dumps(step.arguments, allow_nan=False).encode()
    assert step.error or step.action
    assert parse(text, cut) == step


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda x: st.lists(x, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_strict_json_and_python_dicts_come_back_unchanged(value):
    plain = json.loads(json.dumps(value).encode("utf-8", "replace"))
    assert parse_arguments(json.dumps(plain)) == (plain, [], "")
    assert parse_arguments(repr(plain))[0] == plain
