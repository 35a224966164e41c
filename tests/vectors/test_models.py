"""From a name to a model on disk, and a clear word when there is none."""

from __future__ import annotations

import socket
import time

import pytest

from pastcli import config, models, runs
from pastcli.errors import MismatchError, UsageError


@pytest.fixture
def hf_dir(workspace):
    folder = workspace / "hf"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def finished(stage, build):
    with runs.start(stage, config.STAGES[stage]()) as run:
        build(run)
    return runs.read(run.final)


def test_every_kind_of_path_is_recognised_by_its_content(workspace, hf_dir):
    (workspace / "lora").mkdir()
    (workspace / "lora" / "adapter_config.json").write_text("{}")
    (workspace / "weights").write_bytes(b"GGUF\x03\x00\x00\x00")
    (workspace / "folder").mkdir()
    (workspace / "folder" / "m.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    kinds = {name: models.resolve(workspace / name).kind for name in ("hf", "lora", "weights", "folder")}
    assert kinds == {"hf": "hf", "lora": "adapter", "weights": "gguf", "folder": "gguf"}
    assert models.resolve("folder").path.name == "m.gguf"


def test_a_run_stands_for_its_model(workspace):
    def build(run):
        (run.dir / "model").mkdir()
        (run.dir / "model" / "config.json").write_text("{}")
        run.add_output("model", run.dir / "model")

    record = finished("sft", build)
    for name in (record.id, record.path, "@sft", record.id[:12]):
        assert models.resolve(name).path == record.path / "model"
    (record.path / "model" / "config.json").unlink()
    (record.path / "model").rmdir()
    with pytest.raises(UsageError, match="is gone"):
        models.resolve(record.id)


def test_a_run_without_a_model_does_not_fit(workspace):
    record = finished("ingest", lambda run: None)
    with pytest.raises(MismatchError, match="made no model"):
        models.resolve(record.id)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("empty.gguf", b"", "is not a model file"),
        ("x.safetensors", b"\x08\x00", "bare tensor file"),
        ("notes.txt", b"hello", "is not a model file"),
    ],
)
def test_files_that_are_no_models_do_not_fit(workspace, name, content, error):
    (workspace / name).write_bytes(content)
    with pytest.raises(MismatchError, match=error):
        models.resolve(name)


def test_an_empty_folder_does_not_fit(workspace):
    (workspace / "nothing").mkdir()
    with pytest.raises(MismatchError, match="holds no model"):
        models.resolve("nothing")


def test_two_ggufs_in_a_folder_are_ambiguous(workspace):
    (workspace / "two").mkdir()
    for name in "ab":
        (workspace / "two" / f"{name}.gguf").write_bytes(b"GGUF")
    with pytest.raises(MismatchError):
        models.resolve("two")


@pytest.mark.parametrize("name", ["nothing", "", "./no/where", "~/no-such-model"])
def test_a_name_that_means_nothing_lists_the_aliases(workspace, name):
    with pytest.raises(UsageError) as error:
        models.resolve(name)
    assert "smol" in error.value.hint


def test_a_stranger_s_manifest_does_not_hide_a_model(workspace, hf_dir):
    (hf_dir / "manifest.json").write_text('{"name": "a web page"}')
    assert models.resolve(hf_dir).kind == "hf"


def test_smol_is_found_without_a_network(workspace):
    found = models.resolve("smol")
    assert found.kind in ("gguf", "hf") and found.path.exists()


# ---------------------------------------------------------------- the hub


@pytest.fixture
def hub(workspace, monkeypatch):
    """An empty hub cache; give the address of the hub."""

    def at(endpoint):
        import huggingface_hub.constants as constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(workspace / "cache"))
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_HOME", str(workspace / "cache"))

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return at


@pytest.fixture
def silent_server():
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def refused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_network_that_refuses_names_the_model_that_needs_none(hub):
    hub(refused_port())
    began = time.perf_counter()
    with pytest.raises(UsageError, match="neither in the local hub cache nor to be had") as error:
        models.resolve("qwen")
    assert "--base smol" in error.value.hint and error.value.exit_code == 2
    assert time.perf_counter() - began < 3


def test_a_network_that_hangs_does_not_hang_the_command(hub, silent_server):
    import huggingface_hub  # noqa: F401  (its import is not what is timed)

    hub(silent_server)
    began = time.perf_counter()
    with pytest.raises(UsageError) as error:
        models.resolve("qwen")
    assert time.perf_counter() - began < 3.5
    assert "--base smol" in error.value.hint


def test_a_cached_model_needs_no_network(workspace, hub):
    hub(refused_port())
    repo = workspace / "cache" / "models--Qwen--Qwen2.5-7B-Instruct"
    snapshot = repo / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc123")
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"")
    found = models.resolve("qwen")
    assert (found.kind, found.revision) == ("hf", "abc123")


def test_an_incomplete_copy_is_not_taken(workspace, hub):
    hub(refused_port())
    repo = workspace / "cache" / "models--Qwen--Qwen2.5-7B-Instruct"
    (repo / "snapshots" / "abc123").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc123")
    (repo / "snapshots" / "abc123" / "config.json").write_text("{}")
    with pytest.raises(UsageError):
        models.resolve("qwen")


# ---------------------------------------------------------------- notes


def test_a_note_leads_to_the_template_of_a_model(workspace, hf_dir):
    template = workspace / "t.gguf"
    template.write_bytes(b"GGUF")
    models.write_note(hf_dir, models.ModelRef("x", hf_dir, "hf"), template)
    assert models.gguf_template(hf_dir) == template
    template.unlink()
    assert models.gguf_template(hf_dir) is None
    (hf_dir / models.NOTE_FILE).write_text("not json")
    assert models.read_note(hf_dir) == {}


def test_a_run_whose_model_was_changed_does_not_stand_for_it(workspace, past):
    from pastcli import runs
    from pastcli.config import SftConfig

    with runs.start("sft", SftConfig(), name="one") as run:
        (run.dir / "model").mkdir()
        (run.dir / "model" / "config.json").write_text("{}")
        (run.dir / "model" / "model.safetensors").write_bytes(b"weights")
        run.add_output("model", run.dir / "model")
    made = run.final / "model"
    assert models.resolve("one").path == made
    (made / "model.safetensors").write_bytes(b"Weights")
    told = past("inject", "--target", "one", "--vector", made / "config.json", code=3).stderr
    assert "changed since" in told and "by its path" in told
    assert models.resolve(made).path == made


def test_a_model_in_16_bits_is_the_one_that_transformers_loads(make_tiny, tmp_path):
    """Frequencies of rotary embeddings stay float32: rounded to 8 bits they turn text of some length into another."""
    import torch
    from past_hf.chat import HFChat
    from past_hf.materialize import load_model
    from transformers import AutoModelForCausalLM

    folder = make_tiny(tmp_path / "tiny", dtype=torch.bfloat16, max_position_embeddings=4096)
    ids = torch.arange(600)[None] % 300 + 3
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager").eval()
    with torch.no_grad():
        wanted = theirs(ids).logits
        assert torch.equal(load_model(folder, torch.bfloat16, "eager").eval()(ids).logits, wanted)
    for model in (HFChat(folder, "stored", 8).model, HFChat(folder, "bf16", 8).model):
        assert {str(one.dtype) for one in model.parameters()} == {"torch.bfloat16"}
        assert {name: one.dtype for name, one in model.named_buffers()} == {
            name: one.dtype for name, one in theirs.named_buffers()
        }
