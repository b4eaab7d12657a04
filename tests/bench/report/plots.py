"""The plots: small, plain, and the same bytes for the same input.

The only part of the bench that needs matplotlib. Called by the sections with data, knows nothing of what it means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

PANEL_INCHES = 4.2, 2.9
BAR_INCHES = 0.24
HEADROOM = 1.2
OURS, OTHERS = "#0b6e99", "#b8bfc6"
COLOURS = (OURS, "#d9822b", "#5b8c5a", "#8e6c9e")
LOOK: Any = {  # its type would be a list of all that matplotlib can be told
    "svg.hashsalt": "workd",  # or every run would invent other names for the same shapes
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ea",
    "legend.frameon": False,
    "figure.facecolor": "white",
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one set of bars: medians with the ends of their ranges."""

    name: str
    medians: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. `places` are numbers for lines, and words for bars."""

    title: str
    y_label: str
    places: Sequence[Any]
    series: Sequence[Series]
    x_label: str = ""
    log_x: bool = False
    log_y: bool = False
    goal: float | None = None
    bottom: float = 0.0


def lines(path: Path, panels: Sequence[Panel]) -> None:
    """Draw panels of lines, side by side."""
    with mpl.rc_context(LOOK):
        width, height = PANEL_INCHES
        figure, axes = plt.subplots(1, len(panels), figsize=(width * len(panels), height), squeeze=False)
        for axis, panel in zip(axes[0], panels, strict=True):
            _lines(axis, panel)
        _save(figure, path)


def bars(path: Path, panels: Sequence[Panel]) -> None:
    """Draw panels of horizontal bars below each other's titles, side by side; the first place is ours."""
    with mpl.rc_context(LOOK):
        width = PANEL_INCHES[0]
        longest = max(len(panel.places) * len(panel.series) for panel in panels)
        size = width * len(panels), 0.9 + BAR_INCHES * longest
        figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False)
        for axis, panel in zip(axes[0], panels, strict=True):
            _bars(axis, panel)
        _save(figure, path)


def _lines(axis: Axes, panel: Panel) -> None:
    for colour, one in zip(COLOURS, panel.series, strict=False):
        axis.errorbar(
            panel.places,
            one.medians,
            yerr=_spread(one),
            label=one.name,
            color=colour,
            marker="o",
            markersize=3,
            linewidth=1.3,
            capsize=2,
        )
    axis.set_title(panel.title)
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)
    if panel.log_x:
        axis.set_xscale("log")
    if panel.log_y:
        axis.set_yscale("log")
    else:
        top = HEADROOM * max(max(one.highs) for one in panel.series)  # for the legend
        axis.set_ylim(panel.bottom, top)
        axis.yaxis.set_major_formatter("{x:,g}")
    axis.set_xticks(panel.places, [f"{place:,.10g}" for place in panel.places])
    axis.minorticks_off()
    if panel.goal is not None:
        axis.axhline(panel.goal, color="#c0392b", linewidth=0.8, linestyle="--", label=f"goal {panel.goal:g}")
    if len(panel.series) > 1 or panel.goal is not None:
        axis.legend(loc="upper right", ncols=len(panel.series))


def _bars(axis: Axes, panel: Panel) -> None:
    thickness = 0.8 / len(panel.series)
    for number, one in enumerate(panel.series):
        offset = (number - (len(panel.series) - 1) / 2) * thickness
        places = [index + offset for index in range(len(panel.places))]
        alone = len(panel.series) == 1
        colours = [OURS if index == 0 else OTHERS for index in range(len(panel.places))] if alone else COLOURS[number]
        axis.barh(
            places,
            one.medians,
            height=thickness,
            xerr=_spread(one),
            label=one.name,
            color=colours,
            error_kw={"linewidth": 0.8, "ecolor": "#555555"},
        )
    axis.set_yticks(range(len(panel.places)), panel.places)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set_title(panel.title)
    axis.set_xlabel(f"{panel.y_label}{' (logarithmic)' if panel.log_y else ''}")
    if panel.log_y:
        axis.set_xscale("log")
    if len(panel.series) > 1:
        axis.legend()


def _spread(one: Series) -> list[list[float]]:
    """Return how far the ends of the ranges are from the medians, never below zero."""
    below = [max(0.0, median - low) for median, low in zip(one.medians, one.lows, strict=True)]
    above = [max(0.0, high - median) for median, high in zip(one.medians, one.highs, strict=True)]
    return [below, above]


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
