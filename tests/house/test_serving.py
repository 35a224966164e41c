"""The lines of docs/SERVING.md for llama.cpp's server, as they stand there, with a tiny model."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import ROOT
from gguf_tools import reference_gguf

TEXT = (ROOT / "docs" / "SERVING.md").read_text(encoding="utf-8")


def lines():
    block = re.search(r"```sh\n(.*?)```", TEXT, re.DOTALL)[1]
    return [line for line in block.splitlines() if line.strip()]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def server(workspace, past, make_tiny):
    """The server of the document, on a port of its own, with the model that the line before exported."""
    model = make_tiny(workspace / "sft")
    template = reference_gguf(model, workspace / "template.gguf")
    export, serve = (shlex.split(line) for line in lines())
    assert export[:2] == ["past", "export"] and serve[:3] == ["python", "-m", "llama_cpp.server"]
    past(*[str(model) if word == "@sft" else word for word in export[1:]], "--template", template)
    port = str(free_port())
    words = [sys.executable, *serve[1:-1], port, "--n_ctx", "128"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ) as process:
        try:
            yield f"http://127.0.0.1:{port}/v1", process
        finally:
            process.kill()


def ready(url, process):
    for _ in range(600):
        assert process.poll() is None, process.stderr.read().decode()[-2000:]
        try:
            return json.load(urllib.request.urlopen(f"{url}/models", timeout=5))
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not answer")


def test_the_exported_model_is_served_and_asked_through_past(server, past):
    url, process = server
    assert ready(url, process)["data"]
    request = urllib.request.Request(
        f"{url}/completions",
        json.dumps({"prompt": "Question: Which river?\nAnswer:", "max_tokens": 4, "temperature": 0}).encode(),
        {"Content-Type": "application/json"},
    )
    assert json.load(urllib.request.urlopen(request, timeout=60))["choices"][0]["finish_reason"] in ("length", "stop")
    words = ["ask", "Which river?", "--model", "any", "--backend", "openai", "--prompt", "qa", "--max-new-tokens", 4]
    past(*words, env={"PAST_OPENAI_BASE_URL": url})
