"""Native function calling: the template's own place for tools, its own syntax of calls, its own turns for observations."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pastcli.agent.drivers import run_tasks
from pastcli.agent.native import Native, read_call
from pastcli.agent.transcript import Transcript
from pastcli.api import Completion, Observation, Parameter, Task, ToolSpec, Verdict, object_schema
from pastcli.config import AgentConfig
from pastcli.errors import UsageError

FARE = ToolSpec("get_fare", "", "", "get_fare", "The fare.", schema=object_schema(Parameter("sailing", required=True)))
TASK = Task("1", "Fare of SK-1?", (FARE,), (FARE.key,))
TEMPLATE = (
    "{% if tools %}<|im_start|>system\n# Tools{% for t in tools %}\n{{ t | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m['content'] }}\n</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    "text",
    [
        'I look.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call><tool_call>{"name": "g", "arguments": {}}</tool_call>',
        '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]',
        '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]',
        '<|python_tag|>{"name": "f", "parameters": {"a": 1}}',
        '{"name": "f", "parameters": {"a": 1}}',
        '[{"name": "f", "arguments": {"a": 1}}]',
        '<function=f>{"a": 1}</function>',
        '<think>{"name": "x"} <tool_call></think><tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>',
    ],
)
def test_the_call_syntaxes_of_models(text):
    heard = read_call(text)
    assert (heard.action, heard.arguments, heard.error) == ("f", {"a": 1}, "") and text.startswith(heard.used)


def test_a_turn_without_a_call_is_the_answer():
    heard = read_call("<think>hm</think>\nIt is 12.\n")
    assert (heard.action, heard.arguments["final_answer"]) == ("Finish", "It is 12.")
    begun_in_the_prompt = 'Maybe <tool_call>{"name": "f", "arguments": {}}</tool_call>? No.\n</think>\n\nIt is 12.'
    heard = read_call(begun_in_the_prompt)
    assert (heard.action, heard.arguments["final_answer"]) == ("Finish", "It is 12.")
    assert "cut off" in read_call("It is", cut=True).error and read_call(" ").error


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "f"}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"a"',
        "<tool_call>f(1)",
        "[TOOL_CALLS] []",
        "<function=f>x</function>",
    ],
)
def test_a_call_that_cannot_be_read_is_no_call(text):
    heard = read_call(text)
    assert heard.error and heard.arguments is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<tool_call>", "</tool_call>", "{", "}", '"name":', '"f"', "[TOOL_CALLS]", "[", "<think>", "\n"]
        )
        | st.text(max_size=6)
    ).map("".join)
)
def test_any_text_is_read(text):
    heard = read_call(text)
    assert text.startswith(heard.used) and (heard.error or heard.action)


class Model:
    """A text model with a template for tools."""

    name = "native"

    def __init__(self, *lines):
        self.lines, self.prompts = list(lines), []

    def render(self, messages, tools=()):
        told = f"<tools>{json.dumps(tools)}</tools>" if tools else ""
        return told + "".join(f"<{m.role}>{m.content}</{m.role}>" for m in messages) + "<assistant>"

    def complete(self, prompts, sampling):
        self.prompts += prompts
        return [Completion(self.lines.pop(0))]

    def close(self):
        pass


class Fares:
    def call(self, spec, arguments):
        return Observation("", {"fare": 41.5})


class Kind:
    def judge(self, episode):
        return Verdict("Solved", "kind")


def test_an_episode_in_the_models_own_syntax(tmp_path):
    call = '<tool_call>{"name": "get_fare", "arguments": {"sailing": "SK-1"}}</tool_call>'
    model = Model(call, "It costs 41.5.")
    [result] = run_tasks(model, Fares(), Kind(), [TASK], AgentConfig(format="native"), Transcript(tmp_path / "t.jsonl"))
    assert (result.episode.status, result.episode.answer) == ("finished", "It costs 41.5.")
    first, second = model.prompts
    assert "get_fare" in first and "sailing" not in first, "names only"
    assert second == first + call + '</assistant><tool>{"error": "", "response": {"fare": 41.5}}</tool><assistant>'
    replayed = run_tasks(
        None, Fares(), Kind(), [TASK], AgentConfig(format="native"), Transcript(tmp_path / "t.jsonl", True)
    )
    assert replayed[0].episode.answer == "It costs 41.5."


def test_documentation_where_it_is_asked_for():
    assert "sailing" in Native(True, 100).render(Model(), TASK)


def test_a_template_or_a_backend_without_tools_is_refused():
    class Plain(Model):
        def render(self, messages):
            return ""

    class Deaf(Model):
        def render(self, messages, tools=()):
            return "".join(m.content for m in messages)

    for model in (Plain(), Deaf()):
        with pytest.raises(UsageError, match="react|tools"):
            Native(False, 100).render(model, TASK)
    with pytest.raises(UsageError, match="ReAct"):
        run_tasks(
            Model(), Fares(), Kind(), [TASK], AgentConfig(format="native", decoding="names"), Transcript(Path("none"))
        )


def test_transformers_and_llama_cpp_render_tools_alike(tiny_model, tmp_path):
    import past_hf
    from gguf_tools import reference_gguf
    from past_llamacpp import load_chat

    folder = tmp_path / "tools"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    llama = load_chat(reference_gguf(folder, tmp_path / "tools.gguf"), threads=1, extra_buffers=False)
    hf = past_hf.load_chat(folder, precision="fp32")
    ours, theirs = Native(False, 100), Native(False, 100)
    assert ours.render(hf, TASK) == theirs.render(llama, TASK) and "# Tools" in ours.render(hf, TASK)
    pieces = [form.then("x", Completion("x"), {"error": "", "response": "<|im_end|>"}) for form in (ours, theirs)]
    assert pieces[0] == pieces[1] and "<tool_response>" in pieces[0][1].text
    llama.close()
    hf.close()
