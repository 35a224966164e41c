"""`python -m pastcli` is `past`."""

from .cli import main

main()
