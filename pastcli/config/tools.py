"""The settings of tools: lessons made of their documentation, the agent that calls them, the server that simulates them."""

from __future__ import annotations

from dataclasses import dataclass

from .setting import setting


@dataclass(frozen=True)
class LessonsConfig:
    """`past ingest --tools`: what is made of the documentation of APIs (METHOD 3, tool use)."""

    kinds: list = setting(
        [],
        "what trains: card (the documentation), react (whole runs of the agent), and the questions parameters, required, type, "
        "meaning, choices, default, function, owner, input; none named: all of them; may repeat",
    )
    wordings: int = setting(
        0, "wordings of each question that are learnt; 0 takes all but the held-out ones", at_least=0
    )
    examples: int = setting(2, "whole runs of the agent on each API, with invented queries", at_least=0)
    mistakes: float = setting(
        0.0,
        "share of those runs that begin with a wrong call, which is read and not learnt, and mend it after the error",
        at_least=0,
        at_most=1,
    )
    queries: int = setting(3, "queries on each API for reinforcement learning", at_least=0)
    test_queries: int = setting(2, "queries on each API for evaluation, in wordings that no other has", at_least=0)
    apis: int = setting(
        0,
        "use at most so many APIs of each side, drawn among those that a query can be made for; 0 uses all",
        at_least=0,
    )
    required_only: bool = setting(
        False, "leave out APIs that require no parameter: calling them shows nothing of what was learnt"
    )
    shown: int = setting(4, "functions a query may call, the right one among them", at_least=1)
    prompt: str = setting("full", "the prompt of the runs, as in `past agent`", choices=("full", "brief"))
    observation_chars: int = setting(1024, "longest observation of the runs, as in `past agent`", at_least=16)
    target_share: float = setting(
        0.0,
        "share of the categories drawn for a target that shares nothing with the source; 0: none",
        at_least=0,
        at_most=0.95,
    )
    rephrase: str = setting(
        "",
        "model that puts the queries (not the runs that are learnt) in other words, each checked again; none by default",
    )
    rephrase_backend: str = setting("openai", "chat plugin that runs that model")
    seed: int = setting(0, "seed of the draw, of queries and of values", at_least=0)


@dataclass(frozen=True)
class AgentConfig:
    """`past agent`: a ReAct loop over tools."""

    backend: str = setting("llamacpp", "chat plugin that runs the model")
    format: str = setting(
        "react",
        "how the model calls: react (the paper's), or native (its own chat template)",
        choices=("react", "native"),
    )
    tokenizer: str = setting(
        "", "for a server: the model whose tokenizer and chat template it has; prompts are then sent raw and checked"
    )
    judge: str = setting("rules", "judge plugin")
    judge_model: str = setting("", "model of a judge that needs one (llm)")
    judge_backend: str = setting("openai", "chat plugin that runs the judge's model")
    also_judge: list = setting(
        [], "judges whose verdicts are reported beside the main one's (reference); they decide nothing; may repeat"
    )
    judge_votes: int = setting(3, "votes of a judge that votes", at_least=1)
    max_turns: int = setting(12, "turns before an episode is cut off", at_least=1)
    max_new_tokens: int = setting(256, "longest turn, in tokens", at_least=1)
    observation_chars: int = setting(1024, "longest observation shown to the model, in characters", at_least=16)
    temperature: float = setting(0.0, "sampling temperature; 0 is greedy", at_least=0)
    attempts: int = setting(1, "attempts at each query", at_least=1)
    parallel: int = setting(
        1, "episodes under way at once; models that decode in batches are asked for all together", at_least=1
    )
    limit: int = setting(0, "run only the first N queries; 0 runs all", at_least=0)
    decoding: str = setting(
        "off", "what the output is held to by a grammar", choices=("off", "format", "names", "schema")
    )
    prompt: str = setting(
        "full",
        "what the model is told before the names: full (the rules and a worked example), or brief (one sentence instead of some "
        "260 tokens: for models that learnt the form from `past ingest --tools`)",
        choices=("full", "brief"),
    )
    show_schemas: bool = setting(False, "put the documentation of the tools into the prompt (not names-only)")
    environment: str = setting(
        "", "environment plugin that answers calls (default: the tools' own, else the simulator)"
    )
    simulator_model: str = setting("", "model that answers in the environment `llm`")
    simulator_backend: str = setting("openai", "chat plugin that runs that model")
    strict_tools: bool = setting(False, "a broken field in the tools file is an error, not a warning")
    seed: int = setting(0, "run seed; each call's seed is derived from it", at_least=0)


@dataclass(frozen=True)
class ServeConfig:
    """`past serve`: tools for other programs."""

    host: str = setting("127.0.0.1", "address to listen on; any other than this machine's own opens it to the network")
    port: int = setting(8080, "port to listen on; 0 takes a free one", at_least=0, at_most=65535)
    environment: str = setting("", "environment plugin that answers (default: the tools' own, else the simulator)")
    simulator_model: str = setting("", "model that answers in the environment `llm`")
    simulator_backend: str = setting("openai", "chat plugin that runs that model")
    max_body: int = setting(1_048_576, "longest request, in bytes", at_least=1024)
    body_seconds: float = setting(10.0, "time a client has to send a request", above=0)
    waiting: int = setting(64, "calls of a model or live tool under way at once", at_least=1)
    strict_tools: bool = setting(False, "a broken field in the tools file is an error, not a warning")
