"""Making knowledge: more texts and questions out of passages, by a chat model or by rule (METHOD 3).

`kinds` says what can be made and with which prompt; `parse` reads a model's answer strictly; `checks` keeps what the
passage carries and what was not said before; `rules` makes the kinds that need no model; `run` puts these together.
"""

from .kinds import KINDS, Kind, chosen
from .run import Made, generate, plan

__all__ = ["KINDS", "Kind", "Made", "chosen", "generate", "plan"]
