"""Programs without a model against `rules/11`, written before they were run on it: what they call and say is taken from the query, the
documentation and the observations by rule. `PROGRAMS` maps a name to f(task, env) -> Episode."""

from __future__ import annotations

import re

from adversaries import act, leaves, named_values, specifics_of, typed, words_of


def _said(pairs):
    return " ".join(f"The {re.sub(r'[_-]+', ' ', name)} is {value}." for name, value in pairs)


def query_in_every_text(task, env):
    """Values of the query, in turn, in every parameter; the answer is the query's words and the first observation."""
    found = specifics_of(task)

    def say(seen):
        first = list(leaves(seen[0]))[:3] if seen else []
        return f"{' '.join(words_of(task))}: {_said(first)}"

    return act(task, env, lambda p, n: typed(found[n % len(found)], p), say)


def defaults_and_named_fields(task, env):
    """Every API with the documentation's defaults; the answer is the fields whose names the query holds, and no others."""

    def fill(parameter, n):
        if parameter.default not in (None, ""):
            return parameter.default
        found = specifics_of(task)
        return parameter.enum[0] if parameter.enum else typed(found[n % len(found)], parameter)

    return act(task, env, fill, lambda seen: _said(named_values(task, seen)[:6]) or "Nothing was found.")


def yes_and_no(task, env):
    """Both answers to whatever may be asked by yes or no, beside the first values."""
    found = specifics_of(task)

    def say(seen):
        told = [pair for one in seen for pair in list(leaves(one))[:3]]
        return f"{_said(told)} Yes, it is available. No, it is not available. It is possible, and it is not possible."

    return act(task, env, lambda p, n: typed(found[n % len(found)], p), say)


_FACTORS = {"km": 1.609, "%": 100.0, "°F": 1.8, "kg": 2.205, "hours": 60.0}


def every_unit(task, env):
    """Every number of the observations in several units, so that one of them may be right."""
    found = specifics_of(task)

    def say(seen):
        numbers = [
            (name, value)
            for one in seen
            for name, value in leaves(one)
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        ]
        forms = ("{v}", "{v} km ({a:.1f} miles)", "{v} °C ({b:.1f} °F)", "{v} kg", "{v} %", "{v} minutes")
        return " ".join(
            f"The {name} is "
            + ", ".join(form.format(v=value, a=value / _FACTORS["km"], b=32 + value * _FACTORS["°F"]) for form in forms)
            + "."
            for name, value in numbers[:4]
        ) or _said([pair for one in seen for pair in list(leaves(one))[:2]])

    return act(task, env, lambda p, n: typed(found[n % len(found)], p), say)


def done_as_told(task, env):
    """The query turned into a report that it was done, with the first value as its receipt."""
    found = specifics_of(task)

    def say(seen):
        receipt = _said([pair for one in seen for pair in list(leaves(one))[:1]])
        return f"All set! {re.sub(r'[?]', '.', task.query)} It has been done. {receipt}"

    return act(task, env, lambda p, n: typed(found[n % len(found)], p), say)


PROGRAMS = {
    "the query in every text": query_in_every_text,
    "defaults, and the fields that are named": defaults_and_named_fields,
    "yes and no": yes_and_no,
    "every unit": every_unit,
    "done as told": done_as_told,
}
