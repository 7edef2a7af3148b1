"""What a reader must know of how a block was placed: in plain words, each with its remedy."""

from __future__ import annotations

import numpy as np

from photogrammetry.georeference import Firmness, HeightSource, Placement
from photogrammetry.settle import Solution

SURPRISE = 5.0
"""Standard deviations of a recorded position beyond which its residual is worth a warning."""
WORSE = 1.5
"""Observed over stated standard deviation from which positions are worse than they claim."""
NAMED = 3
"""Photographs named of those whose positions are far off."""


def warn_of_positions(solution: Solution) -> list[str]:
    """Say what is wrong with recorded positions and heights, and what was done about it."""
    placement, firmness = solution.placement, solution.firmness
    if placement is None or firmness is None:
        return []
    return [
        *_warn_of_heights(placement, firmness),
        *_warn_of_slip(placement),
        *_warn_of_scatter(solution, firmness, placement.heights),
        *_warn_of_single(solution),
        *_warn_of_flying_height(solution),
    ]


def _warn_of_heights(placement: Placement, firmness: Firmness) -> list[str]:
    judged = placement.judged
    if placement.heights is HeightSource.GNSS:
        if judged.plausible:
            return []
        return [
            f"By the recorded heights, which were trusted as asked, the map leans by "
            f"{judged.tilt_deg:.0f}° against {' and '.join(placement.vertical.evidence)}. Run "
            "again without --heights trust unless you know the heights to be right."
        ]
    evidence = list(placement.vertical.evidence)
    if placement.heights is HeightSource.RELATIVE:
        evidence.insert(0, "heights above take-off")
    *others, last = evidence
    level = f"{', '.join(others)} and {last}" if others else last
    instead = f"the map is levelled by {level} instead"
    if judged.plausible:  # the user asked for it
        return [f"The recorded heights were not used, as asked: {instead}."]
    slope = 100 * np.tan(np.radians(firmness.tilt_sigma_deg))
    return [
        f"The recorded heights drift by {judged.range_m:.0f} m against the photographs and would "
        f"tilt the map by {judged.tilt_deg:.0f}°. They were not used; {instead}, to about "
        f"{firmness.tilt_sigma_deg:.1f}° ({slope:.0f} % slope), and lies only roughly at its "
        "height. Slopes of the whole ground cannot be told from this tilt; shapes and relief "
        "within it can be used. If you know that the heights are right, run again with --heights "
        "trust."
    ]


def _warn_of_slip(placement: Placement) -> list[str]:
    if not placement.slip:
        return []
    how = "late" if placement.slip > 0 else "early"
    return [
        f"Recorded positions come {abs(placement.slip):.1f} photographs too {how}: the clocks of "
        "camera and receiver disagree. They were moved along the flight accordingly."
    ]


def _warn_of_scatter(solution: Solution, firmness: Firmness, heights: HeightSource) -> list[str]:
    placed = np.isfinite(solution.known.positions).all(axis=1)
    stated = np.median(solution.known.position_sigmas[placed], axis=0)
    level_m, up_m = firmness.scatter_m
    worse = []
    if level_m > WORSE * stated[0]:
        worse.append(f"{level_m:.1f} m horizontally (stated: {stated[0]:.1g} m)")
    if heights is HeightSource.GNSS and up_m > WORSE * stated[2]:
        worse.append(f"{up_m:.1f} m in height (stated: {stated[2]:.1g} m)")
    if not worse:
        return []
    return [
        f"Recorded positions scatter by {' and '.join(worse)} about the photographs' own geometry "
        "and were weighed accordingly: the scale of the map is known to about "
        f"{100 * firmness.scale_sigma:.0f} %, its place to a few metres at best. Lay it over a "
        "known map, or compare a length you have measured on the ground."
    ]


def _warn_of_single(solution: Solution) -> list[str]:
    """Name photographs whose positions are far off, by the weights they were given."""
    off = solution.block.centres - solution.weighed.positions
    with np.errstate(invalid="ignore"):
        sigmas = np.linalg.norm(off / solution.weighed.position_sigmas, axis=1)
    far = np.flatnonzero(sigmas > SURPRISE)
    if len(far) == 0:
        return []
    worst = far[np.argsort(-sigmas[far])][:NAMED]
    named = ", ".join(f"{solution.block.names[i]} by {np.linalg.norm(off[i]):.1f} m" for i in worst)
    more = f" and {len(far) - len(worst)} more" if len(far) > len(worst) else ""
    verb = "position lies" if len(far) == 1 else "positions lie"
    return [
        f"{len(far)} recorded {verb} far from where the tie points put the photograph "
        f"({named}{more}), beyond all stated accuracy, and got little weight."
    ]


def _warn_of_flying_height(solution: Solution) -> list[str]:
    flown = solution.flown
    if flown is None or flown.agrees:
        return []
    apart_m = flown.solved_m - flown.recorded_m
    wrong = 100 * abs(flown.solved_m / flown.recorded_m - 1)
    return [
        f"By lens and positions the cameras flew {flown.solved_m:.0f} m above the ground, by the "
        f"barometer {flown.recorded_m:.0f} m above take-off. Either the ground surveyed lies "
        f"{abs(apart_m):.0f} m {'below' if apart_m > 0 else 'above'} the take-off point, or the "
        f"focal length in the metadata is {wrong:.0f} % too "
        f"{'long' if apart_m > 0 else 'short'} and all relief stretched with it. Check the camera "
        "in survey.toml."
    ]
