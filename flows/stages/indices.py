"""The stage that computes indices: one pass over the stack, one raster for each index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import OfTiles, Raster
from flows.engine.stage import Figures, Stage
from flows.products.band_stack import BandStack, index_tags, open_stack
from flows.stages.inputs import require_space
from tmp.errors import InputError
from tmp.geo.grids import Tile
from tmp.geo.rasters import TiledRaster, create_tiled, finish_cog, read_reduced, read_window
from tmp.radiometry import Band
from tmp.threads import map_threads

if TYPE_CHECKING:
    from photogrammetry.indices.compute import Layer
    from photogrammetry.indices.table import Index

NODATA = -9999.0
LEFT_OUT = "left_out"
"""Name of the figure that says which cells have no value."""
NO_SHADOW = "no shadow (no dark class of its own found)"
STACK = "stack"
"""Name of the stage's input: the reflectance stack or the orthomosaic."""
INDEX_TILE = 1024
BYTES_PER_CELL = 2 * 4
SAMPLE_CELLS = 768
"""Longest side of the reduced stack that limits and doubt are taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRequest:
    """One index that is to be made."""

    stem: str
    """Name of its file without ``.tif``."""
    index: Index
    bands: Mapping[str, Band]
    """The stack's band for each letter of the formula."""
    warnings: tuple[str, ...]


def read_requests(indices: Sequence[Mapping[str, str]], stack: BandStack) -> list[IndexRequest]:
    """Return what is to be made of ``name`` and ``formula`` each, the latter empty for the table's.

    Raises
    ------
    InputError
        If there is no such index, or the stack lacks a band for it.
    """
    from photogrammetry.indices.table import assign_bands, index_table, list_misfits

    table, requests = index_table(), []
    for asked in indices:
        name, formula = asked["name"], asked["formula"]
        index = table.from_user(name, formula) if formula else table.find(name)
        bands = assign_bands(index, stack.bands, stack.path.name)
        warnings = list_misfits(index, bands)
        requests.append(
            IndexRequest(stem=name.lower(), index=index, bands=bands, warnings=tuple(warnings))
        )
    for first, second in pairwise(sorted(requests, key=lambda request: request.stem)):
        if first.stem == second.stem:
            raise InputError(f"{second.stem}: asked for twice; name it once")
    return requests


class Indices(Stage):
    """Compute indices in one pass over the stack, a raster of each."""

    name = "indices"
    version = "1"
    needs = OfTiles(cpus=2, raster=Raster.ORTHO, base_gb=0.6, gb_per_cpu=0.15, cpu_s_per_tile=0.2)

    def finish(self) -> Figures:
        """Compute the indices tile by tile, and write them."""
        space = self.space
        stack = open_stack(space.inputs[STACK])
        requests = read_requests(space.options["indices"], stack)
        cells = stack.grid.rows * stack.grid.cols
        require_space(space.out, cells * BYTES_PER_CELL * len(requests), "computing indices")
        rasters = {
            request.stem: create_tiled(
                space.scratch / request.stem, stack.grid, nodata=NODATA, tile_cells=INDEX_TILE
            )
            for request in requests
        }
        sample = _sample(stack)
        limit = _shadow_limit(sample) if space.options["mask_shadow"] else None
        tiles = list(stack.grid.tiles(INDEX_TILE))
        counts = {request.stem: np.zeros(4, int) for request in requests}

        def compute(tile: Tile) -> dict[str, NDArray[np.int_]]:
            return _compute_tile(stack, requests, rasters, tile, limit)

        done = map_threads(compute, tiles, workers=space.workers)
        for _, found in space.track(done, "Computing indices", len(tiles)):
            for stem, numbers in found.items():
                counts[stem] += numbers
        masks = _masks_in_words(stack, space.options["mask_shadow"], limit)
        figures: dict[str, Any] = {
            "source": stack.path.name,
            "calibration": stack.in_words(),
            LEFT_OUT: masks,
        }
        for request in requests:
            sigma = index_sigma(request, stack, sample)
            finish_cog(
                rasters[request.stem],
                space.out / f"{request.stem}.tif",
                descriptions=(request.index.name,),
                tags=index_tags(
                    request.index, request.bands, stack, masks, request.warnings, sigma
                ),
                threads=space.workers,
            )
            figures |= _figures(request, counts[request.stem], sigma)
        return figures


def _compute_tile(
    stack: BandStack,
    requests: Sequence[IndexRequest],
    rasters: Mapping[str, TiledRaster],
    tile: Tile,
    shadow_limit: float | None,
) -> dict[str, NDArray[np.int_]]:
    """Write a tile of every index; returns cells known, unknown, masked, undefined of each."""
    from photogrammetry.indices.compute import compute_index, saturated_cells, shadowed_cells

    layers = _layers(stack, read_window(stack.path, tile))
    shadow = None if shadow_limit is None else shadowed_cells(layers.values(), shadow_limit)
    found = {}
    for request in requests:
        own = {key: layers[band.channel] for key, band in request.bands.items()}
        limits = {
            key: limit
            for key, band in request.bands.items()
            if (limit := stack.saturation[stack.bands.index(band)]) is not None
        }
        mask = saturated_cells(own, limits) if limits else None
        if shadow is not None:
            mask = shadow if mask is None else mask | shadow
        cells = compute_index(request.index, own, mask=mask)
        rasters[request.stem].write(tile, cells.values[None])
        found[request.stem] = np.array([cells.known, cells.unknown, cells.masked, cells.undefined])
    return found


def _layers(stack: BandStack, window: NDArray[Any]) -> dict[int, Layer]:
    """Return the bands of a window of the stack by their channels."""
    from photogrammetry.indices.compute import Layer

    layers = {}
    for band, factor, offset in zip(stack.bands, stack.factors, stack.offsets, strict=True):
        stored = window[band.channel]
        if stack.alpha is not None:
            stored = np.where(window[stack.alpha] > 0, stored, np.float32(np.nan))
        layers[band.channel] = Layer(
            stored=stored, factor=factor, offset=offset, nodata=stack.nodata
        )
    return layers


def _sample(stack: BandStack) -> dict[int, Layer]:
    """Return the bands at reduced size, from the overviews."""
    reduced, _ = read_reduced(stack.path, SAMPLE_CELLS)
    window = np.ma.filled(reduced.astype(np.float32), np.nan)
    return _layers(stack, window)


def _shadow_limit(sample: Mapping[int, Layer]) -> float | None:
    from photogrammetry.indices.compute import brightness, choose_shadow_limit

    return choose_shadow_limit(brightness(sample.values()))


def index_sigma(
    request: IndexRequest, stack: BandStack, sample: Mapping[int, Layer]
) -> float | None:
    """Return the standard deviation of an index that the calibration of its bands leaves.

    Each band's level is moved up and down by its standard deviation, at the median values of the
    survey; the changes of the index add up as independent errors do.  None where the doubt of a
    band is unknown.
    """
    from photogrammetry.indices.compute import index_values

    sigmas = {key: stack.sigma(band) for key, band in request.bands.items()}
    middle = {}
    for key, band in request.bands.items():
        values = sample[band.channel].values(slice(None))
        if sigmas[key] is None or not np.isfinite(values).any():
            return None
        middle[key] = np.array([np.nanmedian(values)], np.float32)
    changes = []
    for key, sigma in sigmas.items():
        moved = [
            index_values(request.index, middle | {key: middle[key] * np.float32(1 + sign * sigma)})
            for sign in (1, -1)
            if sigma is not None
        ]
        changes.append(float(moved[0][0] - moved[1][0]) / 2)
    total = float(np.hypot.reduce(changes))
    return total if np.isfinite(total) else None


def _masks_in_words(stack: BandStack, asked: bool, limit: float | None) -> str:
    said = ["nodata"]
    if any(value is not None for value in stack.saturation):
        said.append("saturated cells")
    if asked:
        said.append("shadow" if limit is not None else NO_SHADOW)
    return ", ".join(said)


def _figures(
    request: IndexRequest, counts: NDArray[np.int_], sigma: float | None
) -> dict[str, float | str]:
    """Return an index's figures for the report, as shares of the cells that the bands show."""
    known, _, masked, undefined = (int(count) for count in counts)
    shown = max(known + masked + undefined, 1)
    figures: dict[str, float | str] = {f"{request.stem}_valid_share": known / shown}
    if masked:
        figures[f"{request.stem}_masked_share"] = masked / shown
    if undefined:
        figures[f"{request.stem}_undefined_share"] = undefined / shown
    if sigma is not None:
        figures[f"{request.stem}_sigma"] = sigma
    return figures
