"""What explorers share in Python: one module for the browser, a still figure, a page without a kernel."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import anywidget
import matplotlib as mpl
import numpy as np
import traitlets
from jaxtyping import Bool, Float, UInt8
from matplotlib.figure import Figure
from PIL import Image

from marginalia import style

STATIC = Path(__file__).parent / "static"
LONGEST = 1000  # pixels: no view shows a longer side of an image
_OWN_IMPORT = re.compile(r'^import \{[^}]*\} from "\./[\w.]+\.js";\n', re.MULTILINE)


def joined(*parts: str) -> str:
    """The files of `static/` as one module that imports nothing: each may use the names of those before it.

    The files import from each other by name, so that editors understand them; here those lines go.
    """
    return "\n".join(_OWN_IMPORT.sub("", (STATIC / part).read_text(encoding="utf-8")) for part in parts)


class Explorer(anywidget.AnyWidget):
    """A widget that shows one idea. Each kind has `static()`, a figure, and `summary()`, a sentence.

    In a notebook's committed output it is that figure and that sentence. A kind draws its figure in `_draw`.
    """

    given = traitlets.Dict().tag(sync=True)  # traits that undo is about, as the view's Reset sets them

    def __init__(self, **traits):
        super().__init__(**traits)
        self.on_msg(lambda _, content, __: self.send(content))  # the view asks whether a kernel is there

    def __repr__(self) -> str:
        return self.summary()

    def static(self) -> Figure:
        """What the explorer shows now, drawn by matplotlib."""
        with mpl.rc_context():  # showing a widget must not change the look of a reader's own figures
            style.use_style()
            figure = Figure(layout="constrained")
            figure.set_figwidth(style.WIDTH["page"])
            self._draw(figure)
        return figure

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data["text/plain"] = self.summary()
        data["image/png"] = base64.b64encode(_png(self.static())).decode("ascii")
        return data, metadata

    def save_html(self, path: str | Path) -> Path:
        """Write a page that shows the explorer as it is now, without kernel and network; returns its path.

        What is changed on the page stays there. Raises FileNotFoundError where the folder is missing.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"save_html: no folder {path.parent} for {path.name}; make it first")
        own = set(self.keys) - set(anywidget.AnyWidget.class_traits()) - {"_esm", "_anywidget_id"}
        state = self.get_state(own)
        binary = {k: base64.b64encode(v).decode("ascii") for k, v in state.items() if isinstance(v, bytes)}
        plain = {k: v for k, v in state.items() if k not in binary}
        parts = {
            "title": html.escape(type(self).__name__),
            "sentence": html.escape(self.summary()),
            "module": self._esm,
            "state": _script_json(plain),
            "binary": _script_json(binary),
        }
        page = (STATIC / "page.html").read_text(encoding="utf-8")
        page = re.sub(rf"/\*({'|'.join(parts)})\*/", lambda found: parts[found[1]], page)
        path.write_text(page, encoding="utf-8")
        return path


def within(proposal, low: float, high: float):
    """The proposed number, or numbers, of a trait, if all lie from `low` to `high`; else TraitError."""
    if not all(low <= value <= high for value in np.atleast_1d(proposal.value)):
        raise traitlets.TraitError(f"{proposal.trait.name}: expected {low} to {high}, not {proposal.value}")
    return proposal.value


class Rows(traitlets.TraitType):
    """N rows of `columns` numbers as a list of lists; takes whatever numpy makes an (N, columns) array of.

    what: names the rows for an error; refused: which of them are not allowed, beside those with NaN and
    infinite numbers.
    """

    default_value = ()

    def __init__(
        self,
        columns: int,
        what: str,
        refused: Callable[[Float[np.ndarray, "N columns"]], Bool[np.ndarray, " N"]],
    ):
        super().__init__()
        self.columns, self.info_text, self.refused = columns, what, refused

    def validate(self, obj, value):
        try:
            rows = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            self.error(obj, value)
        rows = rows.reshape(0, self.columns) if rows.size == 0 else rows
        told = f"{self.name}: expected {self.info_text}"
        if rows.ndim != 2 or rows.shape[1] != self.columns:
            raise traitlets.TraitError(f"{told}, not the shape {rows.shape}")
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1) | self.refused(rows))
        if len(bad):
            first = f"{self.name.removesuffix('es').removesuffix('s')} {bad[0]} is {rows[bad[0]].tolist()}"
            raise traitlets.TraitError(f"{told}; {first}")
        return rows.tolist()

    def get(self, obj, cls=None):
        # A copy: changing a number in place would otherwise change the rows without anybody being told.
        return [list(row) for row in super().get(obj, cls)]


class ListExplorer(Explorer):
    """An explorer of the things in its trait `items`, of which one may be `selected` (-1: none)."""

    items: str
    selected = traitlets.Int(-1).tag(sync=True)

    @traitlets.validate("selected")
    def _existing(self, proposal):
        return within(proposal, -1, len(getattr(self, self.items)) - 1)

    @traitlets.observe("boxes", "points")
    def _keep_selection(self, change):
        if self.selected >= len(change.new):
            self.selected = -1


def _script_json(value) -> str:
    """JSON that can stand inside a script element whatever the strings say."""
    return json.dumps(value).replace("<", "\\u003c")


def _png(figure: Figure) -> bytes:
    """The figure as PNG of 256 colours, a third of the bytes: it is committed with a notebook's outputs."""
    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    Image.open(drawn).convert("RGB").quantize(256).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def encoded(pixels: UInt8[np.ndarray, "H W *channels"]) -> bytes:
    """An image, (H, W), (H, W, 3) or (H, W, 4) of uint8, as PNG, shrunk to 1000 pixels on its longer side.

    What is drawn on it keeps the coordinates of the original. ValueError for anything else.
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        kind = getattr(pixels, "dtype", type(pixels).__name__)
        raise ValueError(f"pixels: expected an array of uint8 (0 to 255), not {kind}; convert it first")
    if not pixels.size or (pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ValueError(f"pixels: expected (H, W), (H, W, 3) or (H, W, 4), not {pixels.shape}")
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def decoded(png: bytes) -> UInt8[np.ndarray, "H W *channels"] | None:
    """The pixels that were `encoded`; None for no bytes."""
    return np.asarray(Image.open(io.BytesIO(png))) if png else None
