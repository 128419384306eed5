"""Figures of matplotlib as SVG that belongs to its page: the page's colors and its font.

Colors are drawn with stand-ins, for which the page's CSS variables are put in afterwards, so
that one chart suits a light page, a dark one and paper. The same figure has the same bytes.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis, XAxis

INK, MUTED, LINE, PAPER, HEAT, ON_HEAT = (f"#fab00{digit}" for digit in "123456")
LineStyle = str | tuple[float, tuple[float, ...]]
_ROLES = ("teacher", "student", "control")
SERIES = tuple(f"#fab01{digit}" for digit in "01234567")

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    PAPER: "--paper",
    HEAT: "--heat",
    ON_HEAT: "--on-heat",
} | {color: f"--series-{at}" for at, color in enumerate(SERIES)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # A class may be called $x$.
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.4,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
# Beside the color, for those who cannot tell the colors apart, and for gray paper.
_MARKERS = "osd^DvPX"
_LINES: tuple[LineStyle, ...] = (
    "-",
    (0, (5, 1.5)),
    ":",
    (0, (4, 1.2, 1, 1.2)),
    (0, (7, 2)),
    (0, (2, 2)),
    (0, (6, 1.5, 1, 1.5, 1, 1.5)),
    (0, (9, 3)),
)
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Look:
    """How one model is drawn, in every chart alike."""

    color: str
    marker: str
    linestyle: LineStyle


def look(names: Iterable[str], name: str) -> Look:
    """The look of one of these models: the teacher's, student's and control's never change."""
    variants = [each for each in names if each not in _ROLES]
    at = _ROLES.index(name) if name in _ROLES else 3 + variants.index(name) % (len(SERIES) - 3)
    return Look(SERIES[at], _MARKERS[at], _LINES[at])


def draw(
    name: str, description: str, paint: Callable[[Axes], None], size: tuple[float, float]
) -> str:
    """One chart as an `<svg>` element for an HTML page.

    Args:
      name: unique in the page; the names of the chart's parts begin with it.
      description: what the chart shows, for those who do not see it.
      paint: draws on the axes it is given.
      size: width and height in points.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with (
        matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}),
        warnings.catch_warnings(),
    ):
        # The page's font is another one, with the reader's glyphs.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure((size[0] / 72, size[1] / 72), dpi=72, layout="constrained")
        paint(figure.subplots())
        # `savefig` would draw everything once more, for the layout that drawing makes anyway.
        FigureCanvasSVG(figure).print_svg(stream, metadata=_NO_METADATA)
    return _embed(stream.getvalue(), re.sub(r"[^a-z0-9]+", "-", name.lower()), description)


def readable(text: str, length: int = 16) -> str:
    """A user's text for a chart: no character that XML forbids, and not too long."""
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return shown if len(shown) <= length else shown[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def legend(axes: Axes) -> None:
    """Names of the models below the axes, where they hide nothing."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(loc="outside lower left", ncols=3, handlelength=2.2, columnspacing=1.2)


def logarithmic(axis: XAxis) -> None:
    """A logarithmic axis whose numbers are written out."""
    axis.axes.set_xscale("log")
    plain_ticks(axis)


def plain_ticks(axis: Axis) -> None:
    """Few ticks, as 0.05 or 20,000: matplotlib's own powers need its mathematical text."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low)
    subs = (1.0, 2.0, 5.0) if decades < 1.7 else (1.0, 3.0) if decades < 2.5 else (1.0,)
    axis.set_major_locator(MaxNLocator(4) if decades < 0.4 else LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _embed(svg: str, prefix: str, description: str) -> str:
    # Our own text, not a stranger's: the plain parser will do.
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            # The style would be the whole page's, and the metadata are empty.
            if child.tag.endswith(("}style", "}metadata")):
                parent.remove(child)
    used = set(re.findall(r"#([\w-]+)", " ".join(_references(root))))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        element.text = element.text if element.tag == "text" else None
        for key in list(element.attrib):
            value = element.attrib.pop(key)
            key = key.rpartition("}")[2]
            if key == "id" and value not in used:
                continue
            element.set(key, _in_page(key, value, prefix))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"class": "chart", "role": "img", "aria-label": description}
    title = ElementTree.Element("title")
    title.text = description
    root.insert(0, title)
    return ElementTree.tostring(root, encoding="unicode")


def _references(root: ElementTree.Element) -> list[str]:
    return [
        value
        for element in root.iter()
        for key, value in element.attrib.items()
        if key.endswith("href") or value.startswith("url(")
    ]


def _in_page(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key == "href" or value.startswith("url("):
        return value.replace("#", f"#{prefix}-")
    if key == "style":
        # Text is in the page's font; widths were measured in DejaVu Sans, which is wider than most.
        value = re.sub(r" ?font-family: [^;]*;?", "", value)
        return re.sub(
            "#[0-9a-f]{6}",
            lambda found: f"var({_VARIABLES[found[0]]})" if found[0] in _VARIABLES else found[0],
            value,
        )
    return value
