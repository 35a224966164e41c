"""An experiment as a file: arms and seeds become a graph of stages, and their answers effects with intervals.

This room orchestrates: it runs the other stages as ordinary commands and meets them through files.
"""

from .spec import Study, load

__all__ = ["Study", "load"]
