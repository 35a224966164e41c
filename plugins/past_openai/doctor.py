"""Self-test of the OpenAI backend, for `past doctor`: one question to a server of a few lines, on this machine."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

from pastcli.api import Message, Sampling


class _Answers(BaseHTTPRequestHandler):
    """Says `four` to every chat."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "four"}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        made = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        body = json.dumps(made).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def doctor() -> list[tuple[str, bool, str]]:
    """(check, passed, detail): the client asks and understands. Nothing leaves this machine, and no key is used."""
    from .chat import load_chat

    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            chat = load_chat("m", base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", retries=0)
            try:
                said = chat.chat([Message("user", "2 + 2?")], Sampling(max_tokens=4)).text
            finally:
                chat.close()
        finally:
            server.shutdown()
    detail = f"openai {version('openai')} asks a server and understands it"
    return [
        ("openai client", said == "four", detail if said == "four" else f"a server said 'four', and it read {said!r}")
    ]
