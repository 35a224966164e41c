"""Tools an agent can call: descriptions from many formats as `ToolSpec`, a simulator that answers calls, a judge."""
