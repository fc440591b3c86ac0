"""The figure of the README: how the cost grows with a conversation, and what many people at once get."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes

from tests.benchmark.rows import Row

DINGTALK_WAITS_MS = 2500
CHANGES = {"font.size": 11, "svg.fonttype": "none"}  # letters stay letters, which makes the file small


def draw(rows: list[Row], path: Path) -> None:
    """Write the figure; the name's ending says in which format."""
    with matplotlib.rc_context(CHANGES):
        figure, (growth, rate, wait) = pyplot.subplots(
            1, 3, figsize=(13, 3.8), width_ratios=(4, 3, 3), layout="constrained"
        )
        draw_growth(rows, growth)
        draw_rate(rows, rate)
        draw_wait(rows, wait)
        figure.savefig(path)
        pyplot.close(figure)


def draw_growth(rows: list[Row], axes: Axes) -> None:
    """Bytes and CPU, for both kinds of conversation."""
    for what, color in (("bytes", "tab:blue"), ("CPU", "tab:orange")):
        for kind, line in (("long turns", "-"), ("short turns", ":")):
            numbers, ratios = zip((10.0, 1.0), *points_of(rows, f"{what}, {kind}"), strict=True)
            axes.plot(numbers, ratios, line, color=color, marker="o", label=f"{what}, {kind}")
    axes.axhline(1.2, color="grey", linestyle="--", linewidth=1, label="budget: 1.2 ×")
    axes.set(title="Cost of a message / of message 10", xlabel="message number in one conversation")
    axes.set(xscale="log", ylim=(0, None))
    axes.set_xticks([10, 100, 1_000, 10_000], ["10", "100", "1,000", "10,000"])
    axes.yaxis.set_major_formatter("{x:g} ×")
    axes.legend(fontsize=10)


def draw_rate(rows: list[Row], axes: Axes) -> None:
    """Messages per second."""
    people, ratios = zip(*points_of(rows, "messages per second"), strict=True)
    bars = axes.bar([f"{count:g}" for count in people], ratios, color="tab:green")
    axes.bar_label(bars, fmt="%.1f ×")
    axes.set(title="Messages per second / of 1 person", xlabel="people at once", ylim=(0, 1.15 * max(ratios)))
    axes.set_yticks([])


def draw_wait(rows: list[Row], axes: Axes) -> None:
    """Time to answer DingTalk, which waits so long."""
    for shift, percentile, color in ((-0.2, "p50", "tab:purple"), (0.2, "p99", "tab:pink")):
        people, waits_ms = zip(*points_of(rows, percentile), strict=True)
        places = [place + shift for place in range(len(people))]
        bars = axes.bar(places, [100 * ms / DINGTALK_WAITS_MS for ms in waits_ms], 0.4, color=color, label=percentile)
        axes.bar_label(bars, fmt="%.0f%%")
    axes.set_xticks(range(len(people)), [f"{count:g}" for count in people])
    axes.set(title="Time to answer DingTalk / 2.5 s", xlabel="people at once", ylim=(0, 100))
    axes.set_yticks([])
    axes.legend(fontsize=10)


def points_of(rows: list[Row], series: str) -> list[tuple[float, float]]:
    """x and median of a series."""
    return [(row.x, row.median) for row in rows if row.series == series]
