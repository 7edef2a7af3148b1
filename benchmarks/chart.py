"""A chart of times over nodes, both by powers of two, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 44, 52
COLOURS = ("#1b7837", "#2166ac", "#b2182b")
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
    every = [s for times_s in curves.values() for s in times_s]
    low, high = math.log(min(every) / 1.4), math.log(max(every) * 1.4)

    def x(count: float) -> float:
        share = math.log(count / nodes[0]) / math.log(nodes[-1] / nodes[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(seconds: float) -> float:
        return TOP + (high - math.log(seconds)) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">'
        "From card to report on a cluster (simulated)</text>",
    ]
    for seconds, label in LABELS_S.items():
        if low <= math.log(seconds) <= high:
            parts.append(
                f'<path d="M{LEFT} {y(seconds):.1f} H{WIDTH - RIGHT}" stroke="#ddd"/>'
                f'<text x="{LEFT - 8}" y="{y(seconds) + 4:.1f}" text-anchor="end">{label}</text>'
            )
    bottom = HEIGHT - BOTTOM
    for count in nodes:
        parts.append(
            f'<path d="M{x(count):.1f} {TOP} V{bottom}" stroke="#eee"/>'
            f'<text x="{x(count):.1f}" y="{bottom + 20}" text-anchor="middle">{count}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
        "nodes of 16 cores</text>"
    )
    for (photographs, times_s), colour in zip(curves.items(), COLOURS, strict=True):
        points = " ".join(
            f"{x(count):.1f},{y(s):.1f}" for count, s in zip(nodes, times_s, strict=True)
        )
        least_s = max(times_s[0] / nodes[-1], math.exp(low))
        parts.append(
            f'<path d="M{x(nodes[0]):.1f} {y(times_s[0]):.1f} '
            f'L{x(times_s[0] / least_s * nodes[0]):.1f} {y(least_s):.1f}" '
            f'stroke="{colour}" stroke-dasharray="3 4" opacity="0.6"/>'
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
            f'<text x="{WIDTH - RIGHT + 10}" y="{y(times_s[-1]) + 4:.1f}" fill="{colour}">'
            f"{photographs:,} photographs</text>".replace(",000", " 000")
        )
    parts.append(
        f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 12}" fill="#555" font-size="12">'
        "dotted: were all of it shared</text></svg>"
    )
    return "\n".join(parts) + "\n"
