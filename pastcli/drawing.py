"""A figure of matplotlib without a display; matplotlib is imported when one is drawn."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank(width: float, height: float) -> Figure:
    """An empty figure of that many inches, ready for `subplots` and `savefig`."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of a home that it cannot write in
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
