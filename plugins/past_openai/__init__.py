"""Any server that speaks the OpenAI protocol: OpenAI itself, vLLM, llama.cpp's server, Ollama, LM Studio.

`--backend openai --model NAME` asks $OPENAI_BASE_URL (default: OpenAI) for the model NAME;
`--model http://localhost:8000/v1` takes that server's first model, `--model http://localhost:8000/v1#NAME` the
named one. The key comes from $OPENAI_API_KEY; a server of your own needs none. `PAST_OPENAI_API_KEY`,
`PAST_OPENAI_BASE_URL`, `PAST_OPENAI_TIMEOUT` (seconds), `PAST_OPENAI_SILENCE` (seconds without a word before a sign of life is asked for) and `PAST_OPENAI_RETRIES` win over these.
"""

from __future__ import annotations

from .chat import load_chat

__all__ = ["doctor", "load_chat"]


def doctor() -> list[tuple[str, bool, str]]:
    """See `past doctor`; imported when it is asked."""
    from .doctor import doctor as test

    return test()
