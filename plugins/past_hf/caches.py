"""By what name a model takes the keys and values of what it has read: the one place that knows.

Models take any further keyword, and say nothing of one that they do not know: under a wrong name each new token would be seen alone,
and answered as if there had been no question.
"""

from __future__ import annotations

import inspect
from typing import Any, get_args

from transformers import DynamicCache

from .compute import plain

NAMES = ("cache", "past_key_values", "cache_params")
"""From transformers 5.24 on, and before, of Mamba and its like too; models that come with their own code keep the older one."""


def argument(model: Any) -> str:
    """The keyword of the cache; "" of a model that takes none of this kind."""
    parameters = inspect.signature(plain(model).forward).parameters
    return next((name for name in NAMES if name in parameters and _takes_ours(parameters[name].annotation)), "")


def _takes_ours(annotation: Any) -> bool:
    """Whether an argument may be a `DynamicCache`, as far as its annotation tells: xLSTM's `cache` is something else."""
    kinds = [one for one in get_args(annotation) or [annotation] if isinstance(one, type)]
    return not kinds or annotation is inspect.Parameter.empty or any(issubclass(DynamicCache, one) for one in kinds)
