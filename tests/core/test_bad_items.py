"""One bad item spoils only itself: it is skipped, counted and named, the rest goes on, and --strict makes it an error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from pastcli import ingest
from pastcli.ingest.pairs import read_pairs

USAGE = 2


@pytest.fixture
def good(workspace):
    """A folder with one good document."""
    (workspace / "docs").mkdir()
    (workspace / "docs" / "good.md").write_text("# Velmora\n\nVelmora was founded in 1583.\n")
    return workspace / "docs"


def lines(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def skips(past, past_json, says, *words, records=0, files=1):
    """`past ingest docs` reads the good document, names the bad item, and refuses it under --strict."""
    done = past("ingest", "docs", *words, "--json", timeout=60)
    metrics = json.loads(done.stdout)["metrics"]
    assert says in done.stderr and "warning: skipped" in done.stderr
    assert (metrics["skipped"], metrics["skipped_records"]) == (files, records) and metrics["passages"] >= 1
    error = past("ingest", "docs", *words, "--strict", code=USAGE, timeout=60).stderr
    assert says.split(": ")[-1] in error


def test_a_name_that_is_no_utf8(past, past_json, good):
    (good / os.fsdecode(b"caf\xe9.txt")).write_text("Unreachable by name.")
    skips(past, past_json, "its name is not UTF-8")


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_pipe_or_socket_is_never_opened(past, past_json, good, kind):
    if kind == "pipe":
        os.mkfifo(good / "stuck.txt")
    else:
        import socket

        socket.socket(socket.AF_UNIX).bind(str(good / "stuck.txt"))
    skips(past, past_json, f"stuck.txt: a {kind}, not a file")


def test_a_device_and_a_link_to_nowhere(past, past_json, good):
    (good / "zero.txt").symlink_to("/dev/zero")
    skips(past, past_json, "zero.txt: a device, not a file")
    (good / "zero.txt").unlink()
    (good / "gone.txt").symlink_to("nowhere")
    skips(past, past_json, "gone.txt: No such file")


def test_a_device_alone_is_an_error_at_once(past, workspace):
    assert "a device, not a file" in past("ingest", "/dev/zero", code=USAGE, timeout=60).stderr


def unprivileged(*words):
    """`past words` as a user whom permissions bind, root or not."""
    command = [sys.executable, "-m", "pastcli", *map(str, words)]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root may read everything, and there is no setpriv")
        rights = "-dac_override,-dac_read_search"
        command = [setpriv, "--bounding-set", rights, "--inh-caps", rights, *command]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_an_unreadable_file_and_an_unreadable_folder(good, mode):
    (good / "shut").mkdir()
    (good / "shut" / "inside.txt").write_text("Cannot be reached.")
    (good / "secret.txt").write_text("Cannot be read.")
    (good / "secret.txt").chmod(0)
    (good / "shut").chmod(mode)
    try:
        done = unprivileged("ingest", "docs", "--json")
        assert done.returncode == 0, done.stderr
        assert "secret.txt: Permission denied" in done.stderr and "shut" in done.stderr
        assert json.loads(done.stdout)["metrics"]["skipped"] == 2
        assert unprivileged("ingest", "docs", "--strict").returncode == USAGE
    finally:
        (good / "shut").chmod(0o755)


BROKEN = [
    '{"text": "half',
    "[1, 2]",
    "null",
    '{"text": "\\ud83d is half a character"}',
    '{"no": "text"}',
    '{"text": 5}',
]


@pytest.mark.parametrize("broken", BROKEN)
def test_one_broken_line_in_a_thousand(past, past_json, good, broken):
    rows = [{"title": f"T{n}", "text": f"Sentence number {n} stands here."} for n in range(1000)]
    lines(good / "rows.jsonl", [*rows[:499], broken, *rows[499:]])
    skips(past, past_json, "500: ", records=1, files=0)
    assert "1,001 passages" in past("ingest", "docs").stderr


def test_a_line_that_is_no_utf8_says_nothing_about_the_others(past, past_json, good):
    (good / "rows.jsonl").write_bytes(b'{"text": "One."}\n{"text": "caf\xe9"}\n{"text": "Three."}\n')
    skips(past, past_json, "line 2: not UTF-8", records=1, files=0)


def test_a_corpus_with_one_broken_line(past, past_json, good):
    past("ingest", "docs", "-o", "c.jsonl")
    with open("c.jsonl", "a") as file:
        file.write('{"id": "x#1", "doc": "x"\n{"id": "y#1", "doc": "y", "title": 5, "text": "t"}\n')
    shutil.copy("c.jsonl", "edited.jsonl")
    done = past("ingest", "edited.jsonl", "--json")
    assert json.loads(done.stdout)["metrics"]["skipped_records"] == 2 and "line 2: not valid JSON" in done.stderr


def test_questions_skip_what_is_none_and_count_the_same_once(past, past_json, workspace, tiny_model):
    rows = [
        {"question": "Which river?", "answer": "fox"},
        "{broken",
        {"question": "Half \ud83d?", "answer": "fox"},
        {"question": 5, "answer": "fox"},
        {"question": "which  river?", "answer": "fox"},
        {"question": "Which hill?", "answer": ["dog", "a dog"]},
        {"question": "Which hill?", "answer": "cat"},
    ]
    lines(workspace / "q.jsonl", rows)
    words = ("eval", "--questions", "q.jsonl", "--model", tiny_model)
    done = past(*words, "--json")
    assert json.loads(done.stdout)["questions"] == 2
    for says in ("line 2: not valid JSON", "line 3: half of a character", "record 4: no question"):
        assert says in done.stderr
    assert "2 question(s) asked before in it count once; 'Which hill?' also with other answers" in done.stderr
    assert "line 2: not valid JSON" in past(*words, "--strict", code=USAGE).stderr


def test_a_list_of_answers_is_a_list_of_accepted_answers(tmp_path):
    rows = [
        {"question": "a?", "answer": ["1843", "in 1843"]},
        {"question": "b?", "answer": {"text": ["x", "y"], "answer_start": [0, 1]}},
        {"question": "c?", "answers": [{"text": "p"}, "q", ["r"]], "answer": 7},
        {"question": "d?", "answer": []},
        {"question": "e?", "answer": None, "answers": ""},
    ]
    lines(tmp_path / "q.jsonl", rows)
    found = [question.answers for question in ingest.read_questions(tmp_path / "q.jsonl")]
    assert found == [("1843", "in 1843"), ("x", "y"), ("7", "p", "q", "r"), (), ()]


def test_a_question_longer_than_the_model_is_skipped_before_it_eats_the_memory(past, workspace, tiny_model):
    rows = [{"id": f"q{n}", "question": f"Which river {n}?", "answer": "fox"} for n in range(4)]
    rows.insert(2, {"id": "monster", "question": "Which river? " * 5000, "answer": "fox"})
    lines(workspace / "q.jsonl", rows)
    words = ("eval", "--questions", "q.jsonl", "--model", f"A={tiny_model}", "--model", f"B={tiny_model}")
    done = past(*words, "--json")
    result = json.loads(done.stdout)
    assert result["questions"] == 4 and result["too_long"] == ["monster"]
    assert "skipped question monster" in done.stderr and "does not fit" in done.stderr
    assert "monster" in past(*words, "--strict", code=USAGE).stderr
    lines(workspace / "long.jsonl", [rows[2]])
    assert (
        "none of the 1 questions fits"
        in past("eval", "--questions", "long.jsonl", "--model", tiny_model, code=USAGE).stderr
    )


def test_training_leaves_out_what_is_longer_than_the_model(past, past_json, workspace, tiny_model):
    pairs = [{"prompt": f"Question: Which river {n}?\nAnswer:", "completion": " fox"} for n in range(6)]
    lines(workspace / "pairs.jsonl", [*pairs, {"prompt": "Which? " * 4000, "completion": " fox"}, "{broken"])
    words = ("--mix", "none", "--epochs", 20, "--lr", "1e-2", "--batch-tokens", 200, "--precision", "fp32")
    done = past("sft", "pairs.jsonl", "--base", tiny_model, *words, "--max-length", 128, "--name", "S")
    assert "1 of 7 examples are longer than 128 tokens" in done.stderr and "line 8: not valid JSON" in done.stderr
    rows = [{"question": f"Which river {n}?", "answer": "fox"} for n in range(4)]
    lines(workspace / "q.jsonl", [*rows, {"question": "Which river? " * 5000, "answer": "fox"}])
    grpo = ("--steps", 1, "--prompts-per-step", 4, "--num-generations", 4, "--lr", "1e-3", "--max-new-tokens", 8)
    done = past("rl", "--sft", "S", "--questions", "q.jsonl", *grpo)
    assert "1 of 5 examples are longer than 248 tokens" in done.stderr


# ---------------------------------------------------------------- pairs in the layouts people have

CHAT = [{"role": "user", "content": "Which river?"}, {"role": "assistant", "content": "The fox."}]
LAYOUTS = {
    "prompt": {"prompt": "Which river?", "completion": "The fox."},
    "messages": {"messages": [{"role": "system", "content": "Be brief."}, *CHAT]},
    "alpaca": {"instruction": "Which river?", "input": "In Velmora.", "output": "The fox."},
    "alpaca without input": {"instruction": "Which river?", "input": "", "output": "The fox."},
    "dolly": {"instruction": "Which river?", "context": "In Velmora.", "response": "The fox."},
    "sharegpt": {"conversations": [{"from": "human", "value": "Which river?"}, {"from": "gpt", "value": "The fox."}]},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_in_every_layout_are_pairs_and_no_documents(tmp_path, layout):
    lines(tmp_path / "p.jsonl", [LAYOUTS[layout]] * 2)
    assert ingest.sniff(tmp_path / "p.jsonl") == "pairs"
    (row, _) = read_pairs(tmp_path / "p.jsonl")
    text = json.dumps(row)
    assert (
        "Which river?" in text and "The fox." in text and ("In Velmora." in text) == ("Velmora" in str(LAYOUTS[layout]))
    )
    with pytest.raises(Exception, match="a pair, for `past sft`"):
        ingest.read_documents([tmp_path / "p.jsonl"])


def test_each_answer_of_a_conversation_is_learnt_and_a_torn_one_is_skipped(tmp_path, capsys):
    more = [*CHAT, {"role": "user", "content": "And the hill?"}, {"role": "assistant", "content": "The dog."}]
    torn = [{"messages": [CHAT[0]]}, {"messages": [CHAT[0], {"role": "robot", "content": "x"}]}, {"messages": "no"}]
    lines(tmp_path / "p.jsonl", [{"messages": more}, *torn])
    rows = read_pairs(tmp_path / "p.jsonl")
    assert [row["messages"][-1]["content"] for row in rows] == ["The fox.", "The dog."]
    assert [len(row["messages"]) for row in rows] == [2, 4]
    assert capsys.readouterr().err.count("no pair and no text") == 3


def test_conversations_are_trained_in_the_model_s_own_template(past, past_json, workspace, tiny_model):
    (workspace / "alpaca.json").write_text(json.dumps([LAYOUTS["alpaca"], LAYOUTS["alpaca without input"]]))
    words = ("--base", tiny_model, "--epochs", 1, "--lr", "1e-2", "--precision", "fp32")
    made = past_json("sft", "alpaca.json", *words)
    assert made["metrics"]["examples"] == 2
    from past_hf.training.sft import tokenize
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    (row,) = tokenize([{"messages": CHAT}], tokenizer, 256)
    text = tokenizer.decode(row["input_ids"])
    assert text == "<|im_start|>user\nWhich river?<|im_end|>\n<|im_start|>assistant\nThe fox.<|im_end|>"
    assert tokenizer.decode([token for token in row["labels"] if token >= 0]) == "The fox.<|im_end|>"


# ---------------------------------------------------------------- one document, one name


def test_flat_squad_rows_are_documents_and_questions_at_once(past, past_json, workspace):
    rows = [
        {
            "id": f"5733{n}",
            "title": "University_of_Velmora",
            "context": f"Passage {n // 2} tells of the tower.",
            "question": f"What of {n}?",
            "answers": {"text": ["the tower"], "answer_start": [0]},
        }
        for n in range(6)
    ]
    lines(workspace / "squad.jsonl", rows)
    made = past_json("ingest", "squad.jsonl", "-o", "c.jsonl")
    assert made["metrics"]["documents"] == 3 and made["metrics"]["duplicates"] == 0
    passages, questions = ingest.read_corpus(workspace / "c.jsonl"), ingest.read_questions(workspace / "squad.jsonl")
    assert len(questions) == 6 and {q.doc for q in questions} == {p.doc for p in passages}
    assert passages[0].title == "University of Velmora" and len({p.doc for p in passages}) == 3
    words = ("distill", "squad.jsonl", "--questions", "squad.jsonl", "--dry-run")
    assert sum(part["questions"] for part in past_json(*words)["rounds"]) == 6


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_passage_with_an_id_and_its_questions_share_one_document(tmp_path, form):
    nested = {
        "id": "p7",
        "title": "T",
        "context": "A passage.",
        "questions": [{"id": "q1", "question": "When?", "answer": "x"}],
    }
    flat = {"doc": "d1", "title": "T", "context": "A passage.", "question": "When?", "answer": "x"}
    path = tmp_path / f"s.{form}"
    if form == "jsonl":
        lines(path, [nested])
    elif form == "csv":
        path.write_text("doc;title;context;question;answer\nd1;T;A passage.;When?;x\n")
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist([flat]), path)
    [passage], [question] = ingest.read_documents([path]), ingest.read_questions(path)
    assert passage.doc == question.doc == ("p7" if form == "jsonl" else "d1") and question.answers == ("x",)


# ---------------------------------------------------------------- standard input


@pytest.fixture
def piped(workspace, python):
    def call(data, *words, code=0):
        command = [python, "-m", "pastcli", *map(str, words)]
        done = subprocess.run(command, input=data, capture_output=True, timeout=120, env=os.environ)
        assert done.returncode == code, done.stderr.decode()
        return done

    return call


def test_a_dash_reads_standard_input(workspace, piped, past_json, tiny_model):
    made = json.loads(piped(b"Port Quill\n\nIt lies on the coast.\n", "ingest", "-", "-o", "c.jsonl", "--json").stdout)
    [passage] = ingest.read_corpus(workspace / "c.jsonl")
    assert (passage.doc, passage.title, passage.text) == ("stdin", "Port Quill", "It lies on the coast.")
    assert past_json("runs", "show", made["run"])["inputs"]["documents"]["hash"].startswith("blake3:")
    rows = b'{"question": "Which river?", "answer": "fox"}\n{"question": "Which hill?", "answer": "dog"}\n'
    done = piped(rows, "eval", "--questions", "-", "--model", tiny_model, "--json")
    assert json.loads(done.stdout)["questions"] == 2
    piped(b'{"title": "T", "text": "One row."}', "ingest", "-")
    assert b"nothing came on standard input" in piped(b" \n", "ingest", "-", code=USAGE).stderr


def test_what_past_made_of_a_folder_and_wrote_there_is_no_document_of_it(past, past_json, good):
    past("ingest", "docs", "-o", "docs/c.jsonl")
    done = past("ingest", "docs", "-o", "again.jsonl", "--json", "--strict")
    metrics = json.loads(done.stdout)["metrics"]
    assert (metrics["passages"], metrics["documents"]) == (1, 1) and metrics["duplicates"] == 0
    assert "docs/c.jsonl" not in done.stderr and "c.jsonl: past made it of these documents (run ingest-" in done.stderr
    named = past_json("ingest", "docs/c.jsonl", "-o", "named.jsonl")
    assert named["metrics"]["passages"] == 1


def test_a_folder_of_corpora_made_elsewhere_is_read(past, past_json, good):
    (good.parent / "corpora").mkdir()
    past("ingest", "docs", "-o", "corpora/a.jsonl")
    assert past_json("ingest", "corpora", "-o", "all.jsonl")["metrics"]["passages"] == 1
