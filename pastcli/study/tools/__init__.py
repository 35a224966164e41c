"""A study of tools (METHOD 3): schemas by SFT, calling by RL on other categories, the skill carried over.

A study file with a table [tools] is one of these. It has the same graph of commands, seeds and reports as a study of
documents, and arms, figures and judges of its own: `spec` (the file), `data` (who sees which APIs), `graph` (what is
trained), `ask` (what a model is asked), `effects`, `sentences` and `report` (what that says), `run`.
"""
