"""Tools for others: StableToolBench's protocol over HTTP, the same tools over MCP, and a page to try them on."""
