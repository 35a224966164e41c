"""Judging an episode: by rules over values (`rules`), by what a task expects (`expected`), by a chat model (`llm`)."""
