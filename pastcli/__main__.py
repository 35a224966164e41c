"""The entry point of `past` and of `python -m pastcli`."""

from __future__ import annotations

import sys


def main() -> None:
    """The command. Ctrl-C while it is still being imported ends it as quietly as it does later (`cli.main`)."""
    try:
        from .cli import main as command
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(130)
    try:
        command()
    except SystemExit as end:
        from .leaving import leave, waits

        if not waits():
            leave(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


if __name__ == "__main__":
    main()
