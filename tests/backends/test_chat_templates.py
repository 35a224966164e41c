"""Chat templates that want what is said in parts, and those that would leave it out."""

from __future__ import annotations

import json

import pytest

from pastcli.chat_templates import rendered
from pastcli.errors import UsageError

IN_PARTS = (
    "{% for turn in messages %}{{ turn.role }}: {% for part in turn.content %}{% if part.type == 'text' %}{{ part.text }}"
    "{% endif %}{% endfor %}\n{% endfor %}assistant:"
)
"""As SmolVLM's and LLaVA's: of a plain text it finds no part, and raises nothing."""
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who founded Velmora?"}]


def applied(template):
    from jinja2 import Template

    return lambda turns: Template(template).render(messages=turns)


def test_what_is_said_reaches_a_template_in_the_form_that_it_wants():
    wanted = "system: Be brief.\nuser: Who founded Velmora?\nassistant:"
    assert applied(IN_PARTS)(TURNS) == "system: \nuser: \nassistant:", "the question is lost without a word"
    assert rendered(applied(IN_PARTS), TURNS) == wanted
    plain = "{% for turn in messages %}{{ turn.role }}: {{ turn.content | trim }}\n{% endfor %}assistant:"
    assert rendered(applied(plain), TURNS) == wanted


def test_a_template_that_leaves_the_question_out_is_refused():
    with pytest.raises(UsageError, match="leaves out what the user says"):
        rendered(applied("{% for turn in messages %}{{ turn.role }}: {% endfor %}"), TURNS)


def test_what_a_template_complains_of_is_told(past, make_tiny, workspace):
    model = make_tiny(workspace / "model")
    (model / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    turns = [{"role": "user", "content": "which river"}, {"role": "assistant", "content": "fox"}]
    (workspace / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    said = past("sft", "rows.jsonl", "--base", model, "--mix", "none", "--name", "none", code=2).stderr
    assert "refuses this conversation: roles must alternate" in said


@pytest.mark.parametrize("file", ["chat_template.jinja", "chat_template.json"])
def test_a_training_on_conversations_sees_the_questions(file, past_json, make_tiny, workspace):
    """By the tokens that a dry run counts; the template stands where new and where old checkpoints have it."""
    model = make_tiny(workspace / "model")
    (model / file).write_text(json.dumps({"chat_template": IN_PARTS}) if file.endswith(".json") else IN_PARTS)

    def tokens(question):
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "Seven wizards."}]
        (workspace / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
        plan = ("sft", "rows.jsonl", "--base", model, "--mix", "none", "--dry-run", "--card", 80)
        return past_json(*plan)["tokens"]

    assert tokens("which river " * 20) > tokens("which river") + 20
