"""A chart of times over nodes, both by powers of two, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tmp import plotting

LABELS_S = {
    30: "30 s",
    60: "1 min",
    120: "2 min",
    300: "5 min",
    600: "10 min",
    1800: "30 min",
    3600: "1 h",
    7200: "2 h",
    10800: "3 h",
    18000: "5 h",
    36000: "10 h",
    86400: "1 day",
}


def draw_times(nodes: Sequence[int], curves: Mapping[int, Sequence[float]]) -> str:
    """Return an SVG of the seconds that surveys take, by photographs, on numbers of nodes."""
    with plotting.house_style():
        figure = plotting.new_figure(720, 440)
        axes = plotting.axes_at(figure, 70, 44, 480, 344)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        every = [seconds for times_s in curves.values() for seconds in times_s]
        axes.set(
            title="From card to report on a cluster (simulated)", xlabel="nodes of 16 cores",
            ylabel="time", xlim=(nodes[0], nodes[-1]), ylim=(min(every) / 1.4, max(every) * 1.4),
        )  # fmt: skip
        for (photographs, times_s), colour in zip(curves.items(), plotting.SORTIES, strict=False):
            axes.plot(nodes, times_s, color=colour, lw=2.5)
            shared = times_s[0] * nodes[0] / np.array(nodes)
            axes.plot(nodes, shared, color=colour, ls=":", lw=1.2)
            said = f"{photographs:,} photographs".replace(",", " ")
            axes.annotate(
                said, (nodes[-1], times_s[-1]), (8, -4), textcoords="offset points", color=colour
            )
        axes.set_xticks(nodes, [str(count) for count in nodes])
        low, high = axes.get_ylim()
        shown = {seconds: said for seconds, said in LABELS_S.items() if low <= seconds <= high}
        axes.set_yticks(list(shown), list(shown.values()))
        axes.minorticks_off()
        plotting.write(figure, 558, 44, "dotted: were all\nof it shared", size=12)
    svg = plotting.to_svg(figure, "time from card to report over nodes")
    return svg.replace("<svg ", '<svg style="background:white" ', 1) + "\n"
