"""Errors of the 3D model of the rehearsed hamlet against its exact truth.

    python benchmarks/model.py FOLDER [--workers N] [--no-sides]

Renders the hamlet with lines from above and from four sides (once), maps it, and prints: how much
of what three photographs see lies within three ground sample distances of the model, by kind of
surface; how much of the model's measured surface lies as near to the truth; how far the edges of
roofs are off, house by house, and the volumes of crowns; and how like true photographs the model
looks from new viewpoints.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2  # before pycolmap, whose zlib breaks PNG writing in it
import numpy as np
from hamlet import ENOUGH, hamlet_card
from measure import judge
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from flightplan.rehearsal.camera import to_picture
from flightplan.rehearsal.farm import farm_frame
from flightplan.rehearsal.features import read_farm
from flightplan.rehearsal.hamlet import (
    AREA_M,
    CAMERA,
    HamletOptions,
    hamlet_scene,
    hamlet_stations,
)
from flightplan.rehearsal.photographs import COLOUR_SENSOR, Station, render
from flightplan.rehearsal.scene import Scene
from flightplan.rehearsal.solids.bodies import Kind
from flightplan.rehearsal.truth import (
    Crown,
    crowns,
    distance_to_truth,
    roof_edges,
    sample_truth,
    seen_by,
)
from flows.pipeline import map_survey
from flows.run.request import MapOptions, SurveyResult
from ingest.photographs import ingest_photographs
from photogrammetry.kernels.drawing import draw_triangles
from photogrammetry.model.relief_model import NOT_MEASURED
from photogrammetry.views import trusted_radius2
from tmp.geo.frames import LocalFrame
from tmp.progress import bar
from tmp.survey import Survey

Float = NDArray[np.float64]
Ints = NDArray[np.int64]

SPACING_M = 0.1
SAMPLES_PER_M2 = 600.0
NEAREST = 3
"""Samples of the model whose triangles are asked how far a true place is from them."""
NEAR_GSD = 3.0
WALL_GSD = 2.0
COMPLETE, ACCURATE, LIKE_DB, LIKE_SSIM = 0.95, 0.97, 28.0, 0.85
WALLS, PRESENT = 0.95, 0.5
"""Shares of walls, and of what hangs over, that have to lie near the model."""
EDGE_M, CROWN_SHARE = 0.10, 0.10
COLUMN_M, ABOUT_CROWN = 0.05, 1.15
"""Spacing of the columns that a crown's volume is measured in, and of what of its width."""
LOOKS = ((0.0, -90.0, 36.0), (45.0, -55.0, 30.0), (200.0, -50.0, 30.0))
"""New viewpoints: heading and pitch in degrees, height above the hamlet's middle in metres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """A model as it was written: triangles in the map, and which of them were measured."""

    triangles: Float
    """(F, 3, 3), map coordinates."""
    measured: NDArray[np.bool_]

    @property
    def areas(self) -> Float:
        """Area of each triangle in m², (F,)."""
        a, b, c = np.moveaxis(self.triangles, 1, 0)
        return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)

    def samples(self, rng: np.random.Generator, bounds: Float) -> tuple[Float, Ints]:
        """Return places (N, 3) all over the triangles within bounds (2, 2), and their triangles."""
        middle = self.triangles.mean(axis=1)[:, :2]
        inside = np.flatnonzero(((middle > bounds[0]) & (middle < bounds[1])).all(axis=1))
        areas = self.areas[inside]
        count = int(areas.sum() * SAMPLES_PER_M2)
        chosen = inside[rng.choice(len(inside), count, p=areas / areas.sum())]
        u, v = rng.random((2, count))
        u, v = np.where(u + v > 1, (1 - u, 1 - v), (u, v))
        a, b, c = np.moveaxis(self.triangles[chosen], 1, 0)
        return a + u[:, None] * (b - a) + v[:, None] * (c - a), chosen


def main() -> None:
    """Map the hamlet, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-sides", action="store_true")
    asked = parser.parse_args()
    options = HamletOptions()
    with bar() as track:
        card = hamlet_card(asked.folder, options, workers=asked.workers, track=track)
        survey = Survey(folder=asked.folder / "survey")
        ingest_photographs([card / "photos"], survey, link=True, workers=asked.workers, track=track)
        made = map_survey(
            survey.folder,
            MapOptions(workers=asked.workers, model_sides=not asked.no_sides),
            track=track,
        )
    tell_cost(made)
    gsd_m = options.gsd_m
    stations = hamlet_stations(options)
    scene, frame = hamlet_scene(stations, workers=asked.workers), farm_frame(read_farm("hamlet"))
    middle = frame.map_from_world([[0.0, 0.0, 0.0]])[0]
    half = np.array(AREA_M) / 2
    bounds = np.array([middle[:2] - half, middle[:2] + half])
    surface = read_model(made.survey.products_dir / "model.glb")
    rng = np.random.default_rng(1)
    places, owner = surface.samples(rng, bounds)
    tell_accuracy(scene, places, surface.measured[owner], gsd_m)

    truth = sample_truth(scene, SPACING_M, bounds=(*bounds[0].tolist(), *bounds[1].tolist()))
    views = [(CAMERA, station.pose) for station in stations]
    seen = seen_by(scene, frame, truth.points, truth.normals, views, enough=ENOUGH) >= ENOUGH
    away = distances(surface, places, owner, truth.points[seen])
    tell_completeness(away, truth.kind[seen], gsd_m)
    tell_roof_edges(scene, surface, places, owner)
    tell_crowns(scene, surface, bounds)
    tell_likeness(made, scene, frame)


def tell_cost(made: SurveyResult) -> None:
    """Print what the model's stages took."""
    for result in made.results:
        if result.stage in ("surface", "standing", "sides", "solids", "model"):
            print(
                f"{result.stage:<10} {result.usage.cpu_s:6.1f} CPU-s, "
                f"peak {result.usage.peak_gb:.2f} GB"
            )


def parts_of(path: Path) -> Iterator[tuple[Float, Any]]:
    """Yield the corners (N, 3) of each part of a model in the map, and trimesh's part."""
    import trimesh

    with path.open("rb") as file:
        header = file.read(20)
        head = json.loads(file.read(int.from_bytes(header[12:16], "little")))
    origin = head["asset"]["extras"]["origin"]
    scene = trimesh.load(path)
    for node in scene.graph.nodes_geometry:
        turn, name = scene.graph[node]
        part = scene.geometry[name]
        # Up is y in the file, and south is z.
        east, up, south = trimesh.transform_points(part.vertices, turn).T
        yield (
            np.column_stack(
                [east + origin["easting"], origin["northing"] - south, up + origin["height"]]
            ),
            part,
        )


def read_model(path: Path) -> Surface:
    """Read a model's triangles back from its file."""
    triangles, measured = [], []
    for corners, part in parts_of(path):
        triangles.append(corners[part.faces])
        known = not part.visual.material.name.startswith(NOT_MEASURED)
        measured.append(np.full(len(part.faces), known))
    return Surface(triangles=np.concatenate(triangles), measured=np.concatenate(measured))


def distances(surface: Surface, places: Float, owner: Ints, wanted: Float) -> Float:
    """Return how far places (M, 3) are from a model of which places (N, 3) are samples."""
    from trimesh.triangles import closest_point

    _, near = cKDTree(places).query(wanted, k=NEAREST, workers=-1)
    away = np.full(len(wanted), np.inf)
    for k in range(NEAREST):
        found = closest_point(surface.triangles[owner[near[:, k]]], wanted)
        away = np.minimum(away, np.linalg.norm(found - wanted, axis=1))
    return away


def tell_accuracy(scene: Scene, places: Float, measured: NDArray[np.bool_], gsd_m: float) -> None:
    """Print how near the model lies to the truth."""
    away = distance_to_truth(scene, places[measured])
    share = float((away < NEAR_GSD * gsd_m).mean())
    print(
        f"model: {100 * measured.mean():.1f} % of its area measured; of that "
        f"{100 * share:.1f} % within {NEAR_GSD:g} GSD of the truth, median "
        f"{100 * np.median(away):.1f} cm"
    )
    judge(share >= ACCURATE, f"{100 * ACCURATE:.0f} % of what was measured lies so near")


def tell_completeness(away: Float, kind: NDArray[np.int8], gsd_m: float) -> None:
    """Print how much of the truth the model has, by kind of surface."""
    share = float((away < NEAR_GSD * gsd_m).mean())
    print(f"truth seen by {ENOUGH}: {100 * share:.1f} % within {NEAR_GSD:g} GSD of the model")
    judge(share >= COMPLETE, f"{100 * COMPLETE:.0f} % of it is there")
    for one in Kind:
        here = away[kind == one]
        if len(here):
            print(
                f"  {one.name.lower():<14} {len(here) * SPACING_M**2:7.1f} m²  "
                f"{100 * (here < NEAR_GSD * gsd_m).mean():5.1f} %, "
                f"{100 * (here < 2 * gsd_m).mean():5.1f} % within 2 GSD; "
                f"median {100 * np.median(here):.1f} cm, p95 {100 * np.quantile(here, 0.95):.1f} cm"
            )

    for kinds, near, wanted, said in (
        ((Kind.WALL,), WALL_GSD, WALLS, "of walls within 2 GSD"),
        ((Kind.EAVE_UNDERSIDE, Kind.OVERHANG), NEAR_GSD, PRESENT, "below eaves and overhang there"),
    ):
        here = away[np.isin(kind, kinds)]
        judge(
            len(here) > 0 and float((here < near * gsd_m).mean()) >= wanted,
            f"{100 * wanted:.0f} % {said}",
        )


def tell_roof_edges(scene: Scene, surface: Surface, places: Float, owner: Ints) -> None:
    """Print how far the true edges of roofs are from the model, house by house."""
    edges = roof_edges(scene)
    for house in sorted({edge.house for edge in edges}):
        points = []
        for edge in (one for one in edges if one.house == house):
            count = int(np.linalg.norm(edge.ends[1] - edge.ends[0]) / SPACING_M)
            share = np.linspace(0, 1, count)[:, None]
            points.append(edge.ends[0] + share * (edge.ends[1] - edge.ends[0]))
        p95 = float(np.quantile(distances(surface, places, owner, np.concatenate(points)), 0.95))
        print(f"roof edges of house {house + 1}: p95 {100 * p95:.1f} cm")
        judge(p95 <= EDGE_M, f"p95 of at most {100 * EDGE_M:.0f} cm")


def tell_crowns(scene: Scene, surface: Surface, bounds: Float) -> None:
    """Print the volumes of crowns in the model and in truth, of those within bounds (2, 2)."""
    found = [one for one in crowns(scene) if ((one.centre[:2] > bounds[0]).all()
             and (one.centre[:2] < bounds[1]).all())]  # fmt: skip
    for crown in found:
        share = volume_of(surface, crown) / crown.volume_m3
        print(f"crown of {crown.volume_m3:6.1f} m³: {100 * share:5.1f} % of it in the model")
        judge(abs(share - 1) <= CROWN_SHARE, f"within {100 * CROWN_SHARE:.0f} %")


def volume_of(surface: Surface, crown: Crown) -> float:
    """Return the volume of what the model has about a crown, from its foot upward.

    Over each column what faces up counts its height above the foot, and what faces down takes it
    away: the air between ground and crown, and that beside the trunk, is left out.
    """
    a, b, c = crown.half_axes_m
    foot = crown.centre[2] - c
    reach = ABOUT_CROWN * max(a, b)
    corners = surface.triangles - [*crown.centre[:2], foot]
    near = (np.abs(corners[..., :2]) < reach + 1).all(axis=(1, 2)) & (corners[..., 2] > 0).any(1)
    heading = np.radians(crown.heading_deg)
    total = 0.0
    for p, q, r in corners[near]:
        area = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
        if abs(area) < 1e-9:
            continue
        low = np.ceil(np.min([p, q, r], axis=0)[:2] / COLUMN_M)
        high = np.floor(np.max([p, q, r], axis=0)[:2] / COLUMN_M)
        x, y = np.meshgrid(
            *(np.arange(i, j + 1) * COLUMN_M for i, j in zip(low, high, strict=True))
        )
        u = ((x - p[0]) * (r[1] - p[1]) - (y - p[1]) * (r[0] - p[0])) / area
        v = ((q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])) / area
        along = (x * np.sin(heading) + y * np.cos(heading)) / (ABOUT_CROWN * a)
        across = (x * np.cos(heading) - y * np.sin(heading)) / (ABOUT_CROWN * b)
        inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (along**2 + across**2 <= 1)
        z = p[2] + u * (q[2] - p[2]) + v * (r[2] - p[2])
        total += float(np.sign(area) * np.maximum(z, 0)[inside].sum())
    return total * COLUMN_M**2


def tell_likeness(made: SurveyResult, scene: Scene, frame: LocalFrame) -> None:
    """Print how like true photographs the model looks from viewpoints of its own."""
    from skimage.metrics import structural_similarity

    found = []
    for heading_deg, pitch_deg, height_m in LOOKS:
        back_m = height_m / np.tan(np.radians(-pitch_deg)) if pitch_deg > -89 else 0.0
        heading = np.radians(heading_deg)
        place = (-back_m * np.sin(heading), -back_m * np.cos(heading), height_m)
        station = Station(position=place, yaw_deg=heading_deg, pitch_deg=pitch_deg)
        radiance = render(scene, frame, CAMERA, station)
        true = to_picture(radiance[..., :3], COLOUR_SENSOR.gain)
        drawn, known = draw_model(made.survey.products_dir / "model.glb", station, frame)
        truth = cv2.GaussianBlur(true[..., ::-1].astype(np.float32), (0, 0), 1.0)
        drawn = cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), 1.0)
        # Gains differ: a photograph's exposure is not the orthomosaic's.
        gain = np.array([np.median(truth[known][:, k] / drawn[known][:, k]) for k in range(3)])
        drawn = np.clip(drawn * gain, 0, 255)
        error = float(np.sqrt(((truth - drawn)[known] ** 2).mean()))
        grey = [cv2.cvtColor(one.astype(np.uint8), cv2.COLOR_BGR2GRAY) for one in (truth, drawn)]
        _, similar = structural_similarity(*grey, full=True)
        found.append((20 * np.log10(255 / error), float(similar[known].mean())))
    for look, (db, ssim) in zip(LOOKS, found, strict=True):
        print(f"heading {look[0]:.0f}°, pitch {look[1]:.0f}°: PSNR {db:.1f} dB, SSIM {ssim:.2f}")
        judge(db >= LIKE_DB and ssim >= LIKE_SSIM, f"{LIKE_DB:g} dB and {LIKE_SSIM:g}")


def draw_model(
    path: Path, station: Station, frame: LocalFrame
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw a model as the hamlet's camera sees it; with it comes where there is any of it."""
    picture = np.zeros((CAMERA.height_px, CAMERA.width_px, 3), np.uint8)
    depth = np.full(picture.shape[:2], -np.inf, np.float32)
    for mapped, part in parts_of(path):
        cam = station.pose.cam_from_world(frame.world_from_map(mapped))
        # Far beside the picture the lens model folds back into it.
        aside = (cam[:, :2] ** 2).sum(axis=1) / np.maximum(cam[:, 2], 1e-3) ** 2
        ahead = (cam[:, 2] > 1.0) & (aside < trusted_radius2(CAMERA))
        pixels = np.where(ahead[:, None], CAMERA.pixel_from_cam(cam), -1e6)
        faces = np.asarray(part.faces, np.int64)
        faces = faces[ahead[faces].all(axis=1)]
        texture = np.asarray(part.visual.material.baseColorTexture.convert("RGB"))[..., ::-1]
        factor = part.visual.material.baseColorFactor
        tint = np.ones(3) if factor is None else np.asarray(factor[:3])[::-1] / 255
        uv = np.column_stack([part.visual.uv[:, 0], 1 - part.visual.uv[:, 1]])
        draw_triangles(
            np.column_stack([pixels, 1 / np.maximum(cam[:, 2], 1e-3)]).astype(np.float32),
            uv.astype(np.float32),
            faces,
            np.ascontiguousarray(texture),
            tint.astype(np.float32),
            depth,
            picture,
        )
    return picture, np.isfinite(depth) & (picture.sum(axis=2) > 0)


if __name__ == "__main__":
    main()
