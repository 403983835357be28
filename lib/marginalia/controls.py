"""Sliders and other controls above a figure that is drawn anew in the kernel, the same for all notebooks."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import ipywidgets as widgets
import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import clear_output


def with_controls(draw: Callable, **controls) -> widgets.interactive:
    """Controls for the arguments of `draw`, and below them its figure, drawn anew when a control is let go.

    draw: returns a figure, or a tuple that begins with one. controls: argument -> (low, high) or (low, high,
    step) for a slider, a list or dict to choose from, a bool, or a widget, as `ipywidgets.interactive` takes
    them. Names are labels, and defaults of `draw` first values; a widget has its own. What `draw` raises or
    prints is shown between controls and figure. The last line of a cell can be

        with_controls(draw, slope=(-2.0, 2.0), kind=["line", "curve"], grid=True)
    """
    # keeps its place until the next one is there, and is never wider than the page
    picture = widgets.Image(layout={"align_self": "flex-start", "margin": "0", "max_width": "100%"})

    @functools.wraps(draw)
    def show(**values):
        clear_output()
        try:
            made = draw(**values)
        except Exception as error:
            inside = error.__traceback__.tb_next  # begins in `draw`
            return get_ipython().showtraceback((type(error), error, inside))
        finally:
            plt.close("all")  # also what an error leaves half drawn
        drawn = io.BytesIO()
        (made[0] if isinstance(made, tuple) else made).savefig(drawn, dpi="figure")
        picture.value = drawn.getvalue()

    shown = widgets.interactive(show, **controls)
    *knobs, printed = shown.children
    for knob in knobs:
        knob.description = knob.description.replace("_", " ")
        knob.layout = {"width": "auto", "max_width": "420px"}
        if knob.has_trait("continuous_update"):
            knob.continuous_update = False
    longest = max(len(knob.description) for knob in knobs)
    for knob in knobs:  # one width, so that sliders stand below each other
        knob.style.description_width = f"{max(6, 0.7 * longest):.1f}em"
    shown.children = (*knobs, printed, picture)
    return shown
