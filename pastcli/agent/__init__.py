"""The names-only ReAct agent: ask a chat model, parse what it says, call tools, write it all down."""
