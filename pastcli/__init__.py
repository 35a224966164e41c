"""past: Parametric Skill Transfer. Teach a model documents by SFT, move the skill of using them by vector.

A plugin author needs `pastcli.api` (the types) and `pastcli.errors` (what to raise).
"""

__version__ = "0.1.0"
