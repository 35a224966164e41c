"""`past serve`: tools for other programs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import output
from ..config import ServeConfig
from ..errors import UsageError
from ..words import counted
from ._options import DryRun, Force, Json, with_settings

if TYPE_CHECKING:
    from ..tools.load import ToolSet

EXAMPLE = "Example: `past serve --tools toolbench.json --port 8080`"

TOOLS = typer.Option(
    "--tools",
    metavar="PATH",
    help="Tools file or folder (ToolBench, OpenAI functions, OpenAPI, MCP, BFCL), mcp.json, or a Python module.",
)
MCP = typer.Option("--mcp", help="Be an MCP server on stdin and stdout instead of an HTTP server.")
WRITE = typer.Option(
    "--write-toolenv", metavar="DIR", help="Write the folder of documentation StableToolBench's client opens, and stop."
)


@with_settings("serve")
def command(
    tools: Annotated[Path | None, TOOLS] = None,
    mcp: Annotated[bool, MCP] = False,
    write_toolenv: Annotated[Path | None, WRITE] = None,
    *,
    config: ServeConfig,
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
) -> None:
    """Answer tool calls over HTTP as StableToolBench's server does, or over MCP, with the tools of any source.

    Only this machine can reach it unless --host says otherwise. Ctrl-C stops it when the calls under way are answered.
    """
    from ..tools.load import read_tools

    if tools is None:
        raise UsageError(
            "no tools named",
            "give --tools PATH: ToolBench queries, OpenAI functions, OpenAPI, mcp.json, a Python module, …",
        )
    loaded = read_tools(tools, config.strict_tools)
    for line in loaded.warnings.lines():
        output.warn(line)
    if dry_run:
        output.emit(_plan(loaded, config), as_json)
    elif write_toolenv is not None:
        _write_tree(loaded, write_toolenv, force, as_json)
    elif mcp:
        _serve_mcp(loaded, tools, config)
    else:
        _serve_http(loaded, tools, config, as_json)


def _plan(loaded: ToolSet, config: ServeConfig) -> dict[str, Any]:
    return {
        "format": loaded.format,
        "tools": loaded.tools,
        "warnings": loaded.warnings.counts(),
        "environment": config.environment or loaded.environment,
        "address": f"{config.host}:{config.port}",
    }


def _environment(loaded: ToolSet, tools: Path, config: ServeConfig) -> Any:
    from ..tools.load import open_environment

    options = {"model": config.simulator_model, "backend": config.simulator_backend}
    return open_environment(loaded, tools, config.environment, **options)


def _serve_http(loaded: ToolSet, tools: Path, config: ServeConfig, as_json: bool) -> None:
    from ..tools.server.directory import Directory
    from ..tools.server.run import is_local, listen, serve

    directory = Directory(loaded.specs)
    for spec, first in directory.fallen_together()[:3]:
        output.warn(
            f"{spec.tool} / {spec.api} is asked for by the same name as {first.tool} / {first.api}, which answers"
        )
    if not is_local(config.host):
        output.warn(f"everybody who can reach {config.host} can call these tools", "leave --host out to stay local")

    def started(url: str) -> None:
        def human() -> None:
            output.line(url, label=f"{counted(loaded.tools, 'tools')} at ")
            output.note(
                f"StableToolBench's client: SERVICE_URL={url}/virtual; a page to try them: {url}/; stop: Ctrl-C"
            )

        output.emit({"url": url, "tools": loaded.tools, **_plan(loaded, config)}, as_json, human)
        output.flush()

    bound = listen(config.host, config.port)
    with closing(bound), closing(_environment(loaded, tools, config)) as env:
        limits = {"body": config.max_body, "seconds": config.body_seconds, "waiting": config.waiting}
        serve(directory, env, bound, config.host, started, **limits)


def _serve_mcp(loaded: ToolSet, tools: Path, config: ServeConfig) -> None:
    from ..tools.server.mcp_server import serve_stdio

    with closing(_environment(loaded, tools, config)) as env:
        serve_stdio(loaded.specs, env)


def _write_tree(loaded: ToolSet, folder: Path, force: bool, as_json: bool) -> None:
    from ..tools.server.toolenv_tree import is_tree, publish_tree

    folder = folder.absolute()
    if folder.exists() and not (force and is_tree(folder)) and not _is_empty(folder):
        raise UsageError(
            f"{folder} exists", "give a new folder; --force replaces one that holds such a tree and nothing else"
        )
    written = publish_tree(loaded.specs, folder)
    output.emit({"folder": str(folder), "files": written, "tools": loaded.tools}, as_json)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
