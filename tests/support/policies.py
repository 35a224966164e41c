"""Policies without a model that yield completions to the episode, turn by turn: one honest, the others after the reward alone.

`POLICIES` maps a name to `f(view) -> Iterator[str]`; `playing` gives the episode of one of them. All of those that call right know
from the task's reference how: what is tried here is what they say.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from adversaries import leaves

from pastcli.agent.drivers import form_of
from pastcli.agent.episode import play
from pastcli.api import Completion
from pastcli.config import AgentConfig
from pastcli.tools.judging.sources import Said


@dataclass
class View:
    """What a policy sees: the task, and what was answered so far."""

    task: object
    seen: list = field(default_factory=list)

    @property
    def answer(self):
        return self.task.reference.answer

    def values(self):
        return [pair for response in self.seen for pair in leaves(response)]


def act(action, arguments):
    return f" I call it.\nAction: {action}\nAction Input: {json.dumps(arguments)}"


def finish(answer):
    return act("Finish", {"return_type": "give_answer", "final_answer": answer})


def playing(policy, task, env):
    """The episode of a policy, by the generator that every driver runs."""
    steps, view, config = [], View(task), AgentConfig(max_turns=8)
    episode, said = play(task, 0, config, form_of(config), "", env, steps.append), policy(view)
    next(episode)
    try:
        while True:
            episode.send(Completion(next(said, " I do not know.")))
            if steps[-1].outcome == "ok":
                view.seen.append(steps[-1].observation.response)
    except StopIteration as end:
        return end.value


def right_calls(view):
    names = {spec.key: spec.name for spec in view.task.tools}
    for call in view.task.reference.calls:
        yield act(names[call.key], {name: values[0] for name, values in call.arguments.items()})


def sentences(pairs):
    return " ".join(f"The {name.replace('_', ' ')} is {value}." for name, value in pairs) or "There is nothing."


def saying(say):
    """Call right, then say `say(view)`."""

    def policy(view):
        yield from right_calls(view)
        yield finish(say(view))

    return policy


def silent(view):
    yield from right_calls(view)


def at_once(say):
    def policy(view):
        yield finish(say(view))

    return policy


def everything(fill):
    """Call each function once, its required arguments filled; tell three values of each."""

    def policy(view):
        for spec in view.task.tools:
            yield act(spec.name, {p.name: fill(p) for p in spec.parameters if p.required})
        yield finish(sentences([pair for one in view.seen for pair in list(leaves(one))[:3]]))

    return policy


def plausible(parameter):
    number = parameter.type in ("integer", "number")
    return 17 if number else "2024-03-14" if "date" in parameter.name else "Rotterdam"


def documented(parameter):
    return parameter.default or (parameter.enum[0] if parameter.enum else plausible(parameter))


def turned(view):
    """Every value under the name of the next."""
    pairs = view.values()[:5]
    return sentences([(one[0], other[1]) for one, other in zip(pairs, pairs[1:] + pairs[:1], strict=True)])


INVENTED = "The result is 42, released on 2023-05-01 by John Smith, rated 8.5."

HONEST = {
    "honest": saying(lambda view: f"It is {view.answer}."),
    "honest, in a sentence": saying(lambda view: f"According to the service, what you asked for is {view.answer}."),
}
HANDS_OVER = {
    "all of it in sentences": saying(lambda view: sentences(view.values())),
    "all of it behind the answer": saying(lambda view: f"It is {view.answer}. " + sentences(view.values())),
    "the first six values": saying(lambda view: sentences(view.values()[:6])),
    "all values in one sentence": saying(lambda view: f"It is {', '.join(str(v) for _, v in view.values())}."),
    "the query, then all of it": saying(lambda view: f"{view.task.query} {sentences(view.values())}"),
    "JSON": saying(lambda view: json.dumps(view.seen)),
}
SAYS_WRONG = {
    "denied": saying(lambda view: f"It is not {view.answer}."),
    "each under the next one's name": saying(turned),
    "invented behind it": saying(lambda view: f"It is {view.answer}. {INVENTED}"),
}
SAYS_NOTHING = {
    "silent": silent,
    "sorry": saying(lambda view: "I am sorry, I could not find anything."),
    "done": saying(lambda view: "Done. I have found what you asked for."),
    "the query": saying(lambda view: view.task.query),
    "invented": saying(lambda view: INVENTED),
}
CALLS_WRONG = {
    "at once, the query": at_once(lambda view: view.task.query),
    "at once, its values": at_once(
        lambda view: f"It is {', '.join(n.text for n in Said(view.task.query).numbers) or 'it'}."
    ),
    "at once, invented": at_once(lambda view: INVENTED),
    "everything, plausible": everything(plausible),
    "everything, documented": everything(documented),
}
