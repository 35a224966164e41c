"""`past runs report`: one page that holds everything and can do nothing."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from agent_tools import ASK, N, compared_runs
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from pastcli.report.blocks import Curve, Dots, Score, Section, Table
from pastcli.report.page import page
from pastcli.report.text import LONGEST, line, shown

STUDY = ROOT / "docs" / "results" / "squad_small"

EVIL = (
    "</pre></details></script><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>"
    "<svg onload=alert(3)><style>*{display:none}</style><!-- &lt;b&gt; \" ' \x1b[31m\x07\x00\x85\u202e\u2066\ud800\u2028]]>"
)
VOID = {"meta", "link", "input", "br", "line", "circle", "rect", "polyline"}
ALLOWED = set(
    """html head meta link title style body header main nav section h1 h2 h4 p a table thead tbody tr th td div span b i code pre ul ol li dl dt dd
    details summary figure figcaption svg line circle rect polyline fieldset legend label input""".split()
)


class Page(HTMLParser):
    """A page as a browser would read it: tags closed in order, what they may fetch or run, and the texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.refers, self.texts = [], set(), [], []
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            assert not name.startswith("on") and name != "style", (tag, name, value)
            if name in ("src", "href", "srcset", "data", "action", "xlink:href"):
                self.refers.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.open[-5:])

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data[:80]}")

    @property
    def text(self):
        return "".join(self.texts)


def read(path):
    found = Page(Path(path).read_text(encoding="utf-8"))
    assert found.tags <= ALLOWED, found.tags - ALLOWED
    assert all(value.startswith("#part-") or value == "data:," for value in found.refers), found.refers
    assert not re.search(r"@import|url\(", "".join(found.texts[:3]))
    return found


def hostile(right):
    """Like `partly_right`, with every word that can be hostile: thoughts, calls of unknown functions, answers."""
    rules = []
    for n in range(N):
        answer = f"It costs {n}.5 crowns. {EVIL}" if n in right else EVIL
        done = f" {EVIL}\nAction: Finish\nAction Input: {json.dumps({'final_answer': answer})}"
        rules.append({"match": rf"Fare of SK-{n}\?[\s\S]*\nObservation", "reply": done})
        rules.append(
            {"match": rf"Fare of SK-{n}\?", "reply": f" {EVIL}\nAction: {EVIL.splitlines()[0]}\nAction Input: {{}}"}
        )
    return rules


@pytest.fixture
def agent_runs(workspace, past_json):
    return compared_runs(past_json)


def test_any_set_of_runs_is_one_page_with_its_scores(agent_runs, past, past_json):
    rows = [{"question": f"q{n}?", "answer": f"a{n}"} for n in range(16)]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for right in (4, 14):
        replies = [{"match": rf"q{n}\?", "reply": f" a{n}" if n < right else " <b>no</b>"} for n in reversed(range(16))]
        Path(f"e{right}.json").write_text(json.dumps(replies))
    models = ("--model", "few=e4.json", "--model", "many=e14.json")
    evaluated = past_json("eval", "--backend", "echo", *models, "--questions", "q.jsonl")["run"]
    trained = Path("trained")
    trained.mkdir()
    manifest = {"id": "rl-x", "stage": "rl", "status": "complete", "config": {"lr": 1e-4}, "inputs": {}, "outputs": {}}
    (trained / "manifest.json").write_text(json.dumps(manifest))
    log = [{"step": n, "loss": 1 / n, "reward": n / 50, "rewards/f1": 0.1} for n in range(1, 51)]
    (trained / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    done = past_json("runs", "report", *agent_runs, evaluated, "trained", STUDY, "-o", "out.html")
    assert (done["episodes"], done["queries_left_out"], done["comparable"]) == (3 * N, 0, True)
    found = read("out.html")
    compared = past_json("runs", "compare", *agent_runs)["differences"][agent_runs[1]]["solved"]
    assert f"{compared['difference']:+.3f} [{compared['low']:+.3f}, {compared['high']:+.3f}]" in found.text
    scores = json.loads((Path("runs") / evaluated / "results.json").read_text())["models"]["many"]["exact"]
    assert f"{scores['mean']:.3f} [{scores['low']:.3f}, {scores['high']:.3f}]" in found.text
    study = json.loads((STUDY / "results.json").read_text())
    assert study["summary"]["sentences"][0] in found.text
    assert "loss" in found.text and found.text.count("raw text") == 3 * N * 2
    for words in (
        "It costs 3.5 crowns.",
        "I do not know.",
        '{"sailing": "SK-3"}',
        "SoPR",
        "Lineage",
        "tools.json",
        "<b>no</b>",
    ):
        assert words in found.text, words
    raw = Path("out.html").read_text()
    assert "prefers-color-scheme: dark" in raw and "width=device-width" in raw and raw.count("<polyline") >= 3


def test_what_models_and_tools_say_is_text(agent_runs, past_json):
    Path("evil.json").write_text(json.dumps(hostile(range(N))))
    Path("tasks.json").write_text(
        json.dumps(
            [{"id": EVIL, "query": f"Fare of SK-{n}? {EVIL}", "expected_answer": f"{n}.5 crowns"} for n in range(1)]
        )
    )
    run = past_json(*ASK, "evil.json")["run"]
    past_json("runs", "report", run, "-o", "out.html")
    found = read("out.html")
    assert found.text.count("<script>alert(1)</script>") >= 5  # seen, as text: query, thought, call, raw text, answer
    raw = Path("out.html").read_text(encoding="utf-8")
    assert not set(raw) & set("\x1b\x07\x00\x85\u202e\u2066\ud800\u2028")
    assert "U+202E" in raw and "U+001B" in raw
    assert "default-src 'none'" in raw and "script-src" not in raw


def test_huge_texts_and_many_queries_are_bounded_and_said_so(agent_runs, past_json):
    huge = f"It costs 0.5 crowns. {'x' * 3_000_000} the end"
    Path("huge.json").write_text(
        json.dumps(
            [{"match": ".", "reply": f" Done.\nAction: Finish\nAction Input: {json.dumps({'final_answer': huge})}"}]
        )
    )
    run = past_json(*ASK, "huge.json", "--limit", 3)["run"]
    done = past_json("runs", "report", run, "-o", "out.html")
    assert (
        done["bytes"] < 1_000_000
        and "characters left out" in read("out.html").text
        and "the end" in read("out.html").text
    )
    few = past_json("runs", "report", *agent_runs, "--queries", 2, "-o", "few.html")
    assert (few["episodes"], few["queries_left_out"]) == (6, N - 2)
    assert "Left out of this page: 10 more queries." in read("few.html").text


def test_only_a_report_is_replaced(agent_runs, past, past_json):
    past_json("runs", "report", agent_runs[0])
    assert "--force" in past("runs", "report", agent_runs[0], "-o", "report.html", code=2).stderr
    assert past_json("runs", "report", agent_runs[1])["report"].endswith("/report-2.html")
    assert agent_runs[0] in Path("report.html").read_text() and agent_runs[1] in Path("report-2.html").read_text()
    past("runs", "report", agent_runs[1], "--force")
    assert agent_runs[1] in Path("report.html").read_text()
    Path("mine.html").write_text("<p>mine")
    past("runs", "report", agent_runs[0], "-o", "mine.html", "--force", code=2)
    assert Path("mine.html").read_text() == "<p>mine"
    past("runs", "report", agent_runs[0], "-o", f"runs/{agent_runs[0]}/page.html", code=2)
    past("runs", "report", "nothing-like-it", code=2)
    Path("broken.json").write_text('{"summary": {}}')
    past("runs", "report", "broken.json", "-o", "new.html", code=2)
    assert not Path("new.html").exists()


def test_runs_that_cannot_be_compared_are_shown_and_said(agent_runs, past_json):
    words = ("agent", "--tools", "tools.json", "--query", "Fare of SK-1?", "--backend", "echo", "--model", "0.json")
    other = past_json(*words)["run"]
    done = past_json("runs", "report", agent_runs[0], other, agent_runs[1], "-o", "out.html")
    text = read("out.html").text
    assert not done["comparable"] and f"Not compared, for want of a common query or question: {other}." in text
    assert done["episodes"] == 2 * N + 1 and "+0.583" in text, "those that can be compared are"


# ---------------------------------------------------------------- the parts by themselves


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=[])))
def test_any_text_comes_out_as_itself(text):
    for written in (shown(text), line(text, 10**6)):
        assert set(re.findall(r"<[^>]*>", written)) <= {"<b class=char>", "</b>"}
        assert written.isascii() or written.encode("utf-8")
    spelled = re.sub(r"<b class=char>U\+([0-9A-F]+)</b>", lambda m: chr(int(m[1], 16)), shown(text))
    assert html.unescape(spelled) == text or "&" in text


def test_a_long_text_keeps_both_ends():
    found = shown("a" + "b" * 10 * LONGEST + "c")
    assert found.startswith("ab") and found.endswith("bc") and f"{10 * LONGEST + 2:,} characters left out" in found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300, None])
def test_figures_that_are_none_draw_no_nonsense(value):
    blocks = [
        Dots("d", [Score("a", value if value is not None else 0.0, value, value), Score("b", 0.5, None, None)]),
        Curve("c", [(0, 1.0), (1, value)] if value is not None else []),
        Table(("a",), [[value]]),
    ]
    text = "".join(page("t", "s", [Section("x", blocks)]))
    Page(text)
    assert not re.search(r'(?:x1|x2|cx|width|points)="[^"]*(?:nan|inf)', text)
