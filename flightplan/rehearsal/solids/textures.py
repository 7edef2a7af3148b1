"""What bodies reflect, in four bands: boards, masonry, roofs, foliage and the rest.

Textures have detail down to a few centimetres, and no two stones, boards or slates are alike:
what belongs to a place is drawn by the noise of `flightplan.rehearsal.ground`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightplan.rehearsal.ground import lattice, octaves, octaves_3, scattered, value_noise
from flightplan.rehearsal.ray_tracing import Colour, Triple
from flightplan.rehearsal.solids.bodies import FIRST, MATERIAL, MATERIALS, ORIGIN, SEED, TURN

F64 = NDArray[np.float64]

_BOARDS, _STONE, _PLASTER = MATERIALS["boards"], MATERIALS["stone"], MATERIALS["plaster"]
_IRON, _SLATE, _TURF = MATERIALS["iron"], MATERIALS["slate"], MATERIALS["turf"]
_SOFFIT, _CONCRETE, _PAINT = MATERIALS["soffit"], MATERIALS["concrete"], MATERIALS["paint"]
_GLASS, _LEAVES, _SHRUB = MATERIALS["glass"], MATERIALS["leaves"], MATERIALS["shrub"]
_RUBBLE, _BARK, _METAL = MATERIALS["rubble"], MATERIALS["bark"], MATERIALS["metal"]


@njit(cache=True, nogil=True, error_model="numpy")
def turned(table: F64, k: int, x: float, y: float) -> tuple[float, float]:
    """Return a lattice direction along and across the heading of body k."""
    cos, sin = table[k, TURN], table[k, TURN + 1]
    return cos * x + sin * y, cos * y - sin * x


@njit(cache=True, nogil=True, error_model="numpy")
def _tinted(tone: float, red: float, green: float, blue: float, nir: float) -> Colour:
    return tone * red, tone * green, tone * blue, tone * nir


@njit(cache=True, nogil=True, error_model="numpy")
def _of_leaves(place: Triple, seed: int, shrub: bool) -> Colour:
    """Return the reflectance of foliage: clumps with dark gaps between them, and leaves."""
    clumps = octaves_3(place, 0.55, 2, seed + 50)
    leaves = octaves_3(place, 0.13, 3, seed + 60)
    tone = min(max(0.85 + 0.75 * clumps + 0.85 * leaves, 0.12), 2.2)
    dry = min(max(0.3 + 0.8 * octaves_3(place, 1.4, 2, seed + 70), 0.0), 1.0)
    if shrub:
        return _tinted(tone, 0.085 + 0.07 * dry, 0.10 + 0.02 * dry, 0.045, 0.38)
    return _tinted(tone, 0.055 + 0.05 * dry, 0.085 + 0.03 * dry, 0.028, 0.42)


@njit(cache=True, nogil=True, error_model="numpy")
def _of_boards(side: float, up: float, seed: int) -> Colour:
    """Return the reflectance of upright boards of uneven width, painted and worn."""
    warped = side / 0.17 + 0.45 * value_noise(side / 0.17, 3.7, seed)
    board = math.floor(warped)
    tone = 0.72 + 0.4 * lattice(board, seed, 81)
    if warped - board < 0.07:
        tone *= 0.5
    tone *= 1.0 + 0.22 * octaves(3.0 * side, 0.6 * up, 0.35, 4, seed + 82)
    tone = max(tone + 0.18 * octaves(side, up, 0.9, 4, seed + 83), 0.1)
    worn = min(max(1.6 * octaves(side, up, 1.3, 5, seed + 84) - 0.35, 0.0), 1.0)
    hue = lattice(seed, 5, 85)
    if hue < 0.5:
        return _tinted(tone, 0.26 + 0.05 * worn, 0.06 + 0.17 * worn, 0.04 + 0.15 * worn, 0.33)
    return _tinted(tone, 0.30 - 0.08 * worn, 0.24 - 0.03 * worn, 0.10 + 0.08 * worn, 0.35)


@njit(cache=True, nogil=True, error_model="numpy")
def _of_stone(side: float, up: float, seed: int) -> Colour:
    """Return the reflectance of rubble masonry: stones of several tones, and joints."""
    distance, number = scattered(side, 1.6 * up, 0.34, seed + 90)
    tone = 0.65 + 0.75 * number
    tone *= 1.0 - 0.55 * min(max((distance - 0.42) / 0.2, 0.0), 1.0)
    tone *= 1.0 + 0.3 * octaves(side, up, 0.28, 4, seed + 93)
    moss = min(max(1.5 * octaves(side, up, 0.8, 4, seed + 94) - 0.5, 0.0), 1.0)
    return _tinted(max(tone, 0.1), 0.19 - 0.06 * moss, 0.18, 0.165 - 0.09 * moss, 0.21)


@njit(cache=True, nogil=True, error_model="numpy")
def _of_roof(material: int, along: float, down: float, seed: int) -> Colour:
    """Return the reflectance of a roof: iron sheets with rust, slates, or turf."""
    if material == _IRON:
        sheet = math.floor(along / 0.83)
        course = math.floor(down / 2.1 + 0.4 * lattice(sheet, seed, 100))
        tone = 0.7 + 0.4 * lattice(sheet, course, seed + 101)
        if along / 0.83 - sheet < 0.05:
            tone *= 0.6
        tone *= 1.0 + 0.4 * octaves(along, down, 0.3, 4, seed + 102)
        rust = min(max(1.8 * octaves(along, down, 1.7, 5, seed + 103) - 0.1, 0.0), 1.0)
        return _tinted(
            max(tone, 0.1), 0.15 + 0.10 * rust, 0.17 - 0.07 * rust, 0.18 - 0.12 * rust, 0.22
        )
    if material == _SLATE:
        row = math.floor(down / 0.23)
        shifted = along / 0.31 + lattice(row, seed, 104)
        slate = math.floor(shifted + 0.25 * value_noise(shifted, row, seed + 105))
        tone = 0.6 + 0.75 * lattice(slate, row, seed + 106)
        if down / 0.23 - row < 0.12:
            tone *= 0.55
        tone *= 1.0 + 0.25 * octaves(along, down, 0.22, 4, seed + 107)
        lichen = min(max(2.0 * octaves(along, down, 0.6, 4, seed + 108) - 0.7, 0.0), 1.0)
        return _tinted(max(tone, 0.1), 0.10 + 0.12 * lichen, 0.105 + 0.1 * lichen, 0.115, 0.16)
    distance, number = scattered(along, down, 0.3, seed + 109)
    tone = 0.9 + 0.5 * (number - 0.5) * max(1.0 - distance, 0.0)
    tone *= 1.0 + 0.45 * octaves(along, down, 0.4, 5, seed + 110)
    dry = min(max(0.4 + 0.9 * octaves(along, down, 1.5, 4, seed + 111), 0.0), 1.0)
    return _tinted(max(tone, 0.15), 0.08 + 0.10 * dry, 0.10 + 0.06 * dry, 0.035 + 0.04 * dry, 0.4)


@njit(cache=True, nogil=True, error_model="numpy")
def _opening(side: float, up: float, seed: int) -> float:
    """Return 0 on a wall, above 1 on the frames of its windows and doors, 0 … 1 in their panes.

    There is at most one in each bay of 2.3 m; its place, width and height are its own.
    """
    bay = math.floor(side / 2.3)
    if lattice(bay, seed, 120) < 0.3:
        return 0.0
    middle = 2.3 * (bay + 0.5 + 0.3 * (lattice(bay, seed, 121) - 0.5))
    half = 0.38 + 0.2 * lattice(bay, seed, 122)
    low, high = 0.85 + 0.3 * lattice(bay, seed, 123), 1.75 + 0.2 * lattice(bay, seed, 124)
    if lattice(bay, seed, 125) < 0.25:
        low, half = 0.0, 0.45
    inside = min(half - abs(side - middle), up - low, high - up)
    if inside < 0:
        return 0.0
    if inside < 0.07 or (low > 0 and abs(side - middle) < 0.03):
        return 2.0
    return 0.3 + 0.6 * abs(octaves(side, up, 0.5, 4, seed + 126))


@njit(cache=True, nogil=True, error_model="numpy")
def _of_wall(material: int, side: float, up: float, seed: int) -> Colour:
    if material == _BOARDS:
        return _of_boards(side, up, seed)
    if material in (_STONE, _RUBBLE):
        return _of_stone(side, up, seed)
    tone = 1.0 + 0.2 * octaves(side, up, 0.9, 5, seed + 130)
    tone += 0.22 * octaves(side, up, 0.12, 2, seed + 131)
    stain = min(max(1.4 * octaves(1.5 * side, 0.5 * up, 0.8, 5, seed + 132), 0.0), 1.0)
    bright = 0.36 if material == _PLASTER else 0.24
    tone = max(bright * tone * (1.0 - 0.5 * stain), 0.03)
    return _tinted(tone, 1.0, 0.96, 0.87, 1.05)


@njit(cache=True, nogil=True, error_model="numpy")
def _of_things(material: int, place: Triple, nz: float, seed: int) -> Colour:
    """Return the reflectance of bark, metal, boards below eaves, and a car's parts."""
    fine = octaves_3(place, 0.14, 2, seed + 140)
    broad = octaves_3(place, 0.7, 3, seed + 141)
    if material == _BARK:
        return _tinted(max(1.0 + 0.6 * fine + 0.4 * broad, 0.15), 0.16, 0.13, 0.10, 0.22)
    if material == _METAL:
        return _tinted(max(1.0 + 0.35 * fine + 0.35 * broad, 0.15), 0.42, 0.42, 0.40, 0.45)
    if material == _SOFFIT:
        return _tinted(max(1.0 + 0.45 * fine + 0.35 * broad, 0.2), 0.30, 0.25, 0.17, 0.36)
    if material == _PAINT or (material == _GLASS and nz > 0.9):
        dust = min(max(0.35 + 0.7 * broad + 0.8 * fine, 0.0), 1.0)
        return 0.24 + 0.03 * dust, 0.05 + 0.15 * dust, 0.04 + 0.11 * dust, 0.28
    if material == _GLASS:
        return _tinted(max(1.0 + 0.9 * broad + 0.7 * fine, 0.2), 0.06, 0.065, 0.07, 0.06)
    return _tinted(max(1.0 + 0.6 * fine + 0.4 * broad, 0.2), 0.05, 0.05, 0.05, 0.06)


@njit(cache=True, nogil=True, error_model="numpy")
def albedo(table: F64, faces: F64, k: int, face: int, point: Triple) -> Colour:
    """Return the reflectance of body k at a lattice place on it, in four bands."""
    along, across = turned(table, k, point[0] - table[k, ORIGIN], point[1] - table[k, ORIGIN + 1])
    place = (along, across, point[2] - table[k, ORIGIN + 2])
    if face < 0:
        material, seed = int(table[k, MATERIAL]), 1000 * int(table[k, SEED])
        if material in (_LEAVES, _SHRUB):
            return _of_leaves(place, seed, material == _SHRUB)
        return _of_things(material, place, 0.0, seed)
    material, nz = int(faces[face, 5]), faces[face, 2]
    seed = 1000 * int(table[k, SEED]) + 200 * (face - int(table[k, FIRST]))
    if material in (_IRON, _SLATE, _TURF):
        return _of_roof(material, along, across / max(nz, 0.2), seed)
    if material in (_BOARDS, _STONE, _RUBBLE, _PLASTER, _CONCRETE):
        nx, _ = turned(table, k, faces[face, 0], faces[face, 1])
        side, up = (across if abs(nx) > 0.7 else along), place[2]
        if abs(nz) > 0.7:
            side, up = along, across
        elif material in (_BOARDS, _STONE, _PLASTER):
            pane = _opening(side, up, seed)
            if pane > 1.0:
                return _tinted(0.4 + 0.1 * octaves(side, up, 0.1, 2, seed), 1.0, 0.98, 0.94, 1.0)
            if pane > 0.0:
                return _tinted(0.12 * pane, 0.8, 0.9, 1.0, 0.7)
        return _of_wall(material, side, up, seed)
    return _of_things(material, place, nz, seed)
