"""A `ChatModel` behind a URL. The `openai` package does retries with back-off, `Retry-After` and connection pooling."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pastcli.api import Completion, Message, Sampling
from pastcli.errors import ContextOverflow, PastError, UsageError

from .patience import Patience
from .transcript import answered, parse, render

if TYPE_CHECKING:
    import openai

OFFICIAL = "https://api.openai.com/v1"


def load_chat(
    path: str,
    *,
    base_url: str = "",
    api_key: str = "",
    timeout: float | None = None,
    retries: int | None = None,
    parallel: int = 8,
    **options: Any,
) -> OpenAIChat:
    """The model `path` (a name, a URL, or URL#name) of an OpenAI-compatible server.

    `timeout` is in seconds for one request, `retries` the attempts after the first (connection errors, time-outs,
    HTTP 408, 409, 429 and 5xx), `parallel` the requests in flight at once. Options meant for other backends are
    accepted and have nothing to act on. Raises `UsageError` for a missing key, an unknown model or a bad value.
    """
    url, name = _place(path, base_url)
    key = api_key or _setting("API_KEY")
    if not key and url.rstrip("/") == OFFICIAL:
        raise UsageError(
            "no API key for api.openai.com", "set OPENAI_API_KEY, or OPENAI_BASE_URL to a server of your own"
        )
    from openai import DefaultHttpxClient, OpenAI

    seconds = timeout if timeout is not None else _number("TIMEOUT", 120.0)
    answered: list[Patience] = []

    def heard(*_: Any) -> None:
        for one in answered:
            one.heard()

    client = OpenAI(
        api_key=key or "none",
        base_url=url,
        timeout=seconds,
        max_retries=retries if retries is not None else int(_number("RETRIES", 4)),
        http_client=DefaultHttpxClient(event_hooks={"response": [heard]}),
    )
    answered.append(Patience(client, url, seconds, _number("SILENCE", 20.0)))
    with _told(url, name):
        return OpenAIChat(client, name or _first_model(client, url, answered[0]), parallel, answered[0])


def _place(path: str, base_url: str = "") -> tuple[str, str]:
    """(address of the server, name of the model there, '' for its first one)."""
    url, _, name = path.partition("#") if path.startswith(("http://", "https://")) else ("", "", path)
    return url or base_url or _setting("BASE_URL") or OFFICIAL, name


def _identity(path: str) -> str:
    """Which model this is among those of all servers, two of which may call theirs alike; OpenAI's by their name alone."""
    url, name = _place(path)
    return name if url.rstrip("/") == OFFICIAL else f"{url.rstrip('/')}#{name}"


# Names are not looked up as models on disk, and which model one is, is told without asking the server.
vars(load_chat).update(local=False, identity=_identity)


class OpenAIChat:
    """See `pastcli.api.ChatModel`. Raw texts go to /completions, or as a chat where a server has no such thing."""

    concurrent = True
    """Requests may come from several threads at once."""

    def __init__(self, client: openai.OpenAI, name: str, parallel: int, patience: Patience):
        self.name = name
        self._client, self._patience = client, patience
        self._pool = ThreadPoolExecutor(parallel)
        self._chat_only = False

    @property
    def raw(self) -> bool:
        """False once the server turned out to have no raw completions."""
        return not self._chat_only

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        """Continue each text, several at once; results in the order of `prompts`."""
        return list(self._pool.map(lambda prompt: self._complete(prompt, sampling), prompts))

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return self._chat([message.to_dict() for message in messages], [], sampling)

    def _chat(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], sampling: Sampling) -> Completion:
        """Answer a conversation in the protocol's own form, perhaps by calls of `tools`."""
        arguments = {"messages": messages, **self._arguments(sampling)} | ({"tools": tools} if tools else {})
        if str(self._client.base_url).startswith(OFFICIAL):  # OpenAI's newer models know only this name of the limit
            arguments["max_completion_tokens"] = arguments.pop("max_tokens")
        began = time.perf_counter()
        with _told(str(self._client.base_url), self.name):
            answer = self._patience.call(self._client.chat.completions.create, **arguments)
            message = getattr(_choice(answer), "message", None)
            if message is None:
                raise ValueError("a choice without a message")
            text = answered(message)
        return _completion(answer, text, time.perf_counter() - began)

    def render(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> str:
        """A neutral transcript: the template lies with the server, so `complete` turns it into messages (and functions) again."""
        return render(messages, tools)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def _complete(self, prompt: str, sampling: Sampling) -> Completion:
        messages, tools = parse(prompt)
        if messages:
            return self._chat(messages, tools, sampling)
        from openai import NotFoundError

        if not self._chat_only:
            began = time.perf_counter()
            with _told(str(self._client.base_url), self.name):
                try:
                    arguments = {"prompt": prompt, **self._arguments(sampling)}
                    answer = self._patience.call(self._client.completions.create, **arguments)
                    text = getattr(_choice(answer), "text", None)
                    if not isinstance(text, str):
                        raise ValueError("a choice without a text")
                    return _completion(answer, text, time.perf_counter() - began)
                except NotFoundError as error:
                    if _is_about_model(error):
                        raise
                    self._chat_only = True
        return self.chat([Message("user", prompt)], sampling)

    def _arguments(self, sampling: Sampling) -> dict[str, Any]:
        if sampling.grammar is not None:
            raise UsageError("the openai backend cannot follow a grammar", "use --backend llamacpp, or --decoding off")
        arguments: dict[str, Any] = {
            "model": self.name,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.stop:
            arguments["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            arguments["seed"] = sampling.seed
        return arguments


def _choice(answer: Any) -> Any:
    """The first choice of an answer. Raises `ValueError` for a web page, or an answer that offers none: silence would be
    graded as a wrong answer, and it is the server that is wrong."""
    if isinstance(answer, str):
        start = " ".join(answer.split())[:60]
        raise ValueError(f"{'a web page' if start.startswith('<') else 'bare text'}, {start!r}")
    choices = getattr(answer, "choices", None)
    if not choices:
        raise ValueError("an answer without choices")
    return choices[0]


def _completion(answer: Any, text: str, seconds: float) -> Completion:
    finish = "length" if answer.choices[0].finish_reason == "length" else "stop"
    usage = answer.usage
    read, written = (_count(getattr(usage, name, None)) for name in ("prompt_tokens", "completion_tokens"))
    reused = _count(getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None))
    return Completion(text, finish, read, written, max(0, read - reused), seconds)


def _count(told: Any) -> int:
    """A number of tokens, 0 where a server tells none: that costs a figure, and should cost no run."""
    return told if isinstance(told, int) and told > 0 else 0


def _first_model(client: openai.OpenAI, url: str, patience: Patience) -> str:
    for model in patience.call(lambda: list(client.models.list())):
        if not isinstance(getattr(model, "id", None), str):
            break
        return model.id
    raise UsageError(f"{url} offers no model", f"name one: --model {url}#NAME")


@contextmanager
def _told(url: str, name: str) -> Iterator[None]:
    """The client's errors in one line each, with the way out."""
    import openai

    try:
        yield
    except openai.APITimeoutError as error:
        raise PastError(f"{url} did not answer in time", "raise PAST_OPENAI_TIMEOUT (seconds), or try again") from error
    except openai.APIConnectionError as error:
        why = error.__cause__ or error
        raise PastError(
            f"cannot reach {url}: {why}", "is the server running? the address is --model URL or OPENAI_BASE_URL"
        ) from error
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise UsageError(f"{url} refused the API key: {_reason(error)}", "check OPENAI_API_KEY") from error
    except openai.NotFoundError as error:
        hint = f"--model {url.rstrip('/')} without a name takes the first that is served"
        raise UsageError(f"{url} has no model {name!r}: {_reason(error)}", hint) from error
    except openai.RateLimitError as error:
        raise PastError(f"{url} limits the rate: {_reason(error)}", "wait, or raise PAST_OPENAI_RETRIES") from error
    except openai.APIStatusError as error:
        if _is_overflow(error):
            raise ContextOverflow(f"the prompt does not fit into {name}: {_reason(error)}") from error
        raise PastError(
            f"{url} answered {error.status_code}: {_reason(error)}", "the server's log may say more"
        ) from error
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        raise PastError(
            f"{url} gave an answer that is not of the OpenAI protocol: {error}", "is this the /v1 address?"
        ) from error


def _reason(error: openai.APIStatusError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or error.message).strip().splitlines()[0][:200]


def _is_about_model(error: openai.NotFoundError) -> bool:
    """A 404 for the model, not for the path: OpenAI, vLLM and Ollama then speak of the model."""
    return error.code == "model_not_found" or "model" in _reason(error).lower()


def _is_overflow(error: openai.APIStatusError) -> bool:
    reason = _reason(error).lower()
    return error.code == "context_length_exceeded" or (
        error.status_code == 400 and "context" in reason and "length" in reason
    )


def _setting(name: str) -> str:
    return os.environ.get(f"PAST_OPENAI_{name}") or os.environ.get(f"OPENAI_{name}") or ""


def _number(name: str, default: float) -> float:
    text = _setting(name)
    try:
        return float(text) if text else default
    except ValueError:
        raise UsageError(f"PAST_OPENAI_{name} must be a number, not {text!r}") from None
