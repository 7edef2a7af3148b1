"""Reconstruct the block: from verified matches to poses and tie points in an arbitrary frame.

COLMAP does the work.  While the block grows the focal length is held at the metadata's and only
one radial term may follow the lens; everything else waits for the weighted adjustment.

Pair-wise matches are joined to tracks first, and the tracks worth computing with are chosen.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from photogrammetry.orientation.block import Block
from photogrammetry.orientation.features import rank_in_cells
from photogrammetry.orientation.matching import Matches, VerifiedPair, ideal_camera
from tmp.cameras import Camera
from tmp.progress import Track, silent
from tmp.threads import keeping_signals

with keeping_signals():
    import pycolmap

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
Int = NDArray[np.int64]
START = "start"
"""Folder of a piece to grow on from."""
_POLL_S = 0.2
"""How often the waiting thread looks up, so that an interrupt is heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackOptions:
    """How densely tie points cover a photograph."""

    cells: int = 16
    """Cells along the long side."""
    per_cell: int = 5
    """The longest tracks of each cell that are kept, from this photograph's point of view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """Observations of tie points, ordered by track and photograph."""

    photo: Int
    """Photograph of each observation, (K,)."""
    keypoint: Int
    """Index of its keypoint in that photograph, (K,)."""
    track: Int
    """Which track it belongs to, counted from 0 without gaps, (K,)."""

    @property
    def lengths(self) -> Int:
        """Number of photographs that see each track."""
        return np.bincount(self.track)

    def by_photo(self, photos: int) -> list[Int]:
        """Return the indices of each photograph's observations."""
        order = np.argsort(self.photo, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.photo, minlength=photos))[:-1])

    def kept(self, tracks: NDArray[np.bool_]) -> Tracks:
        """Return only some of the tracks, counted anew."""
        mine = tracks[self.track]
        index = np.cumsum(tracks) - 1
        return Tracks(
            photo=self.photo[mine], keypoint=self.keypoint[mine], track=index[self.track[mine]]
        )


def build_tracks(keypoints: Sequence[int], matches: Sequence[tuple[int, int, Matches]]) -> Tracks:
    """Join matches to tracks that see no photograph twice.

    Given are the number of keypoints of each photograph, and the verified matches (M, 2) of pairs.

    A track with two keypoints in one photograph holds a wrong match somewhere; it is dropped
    whole, as there is no telling which of its parts is right.
    """
    offsets = np.concatenate([[0], np.cumsum(keypoints)]).astype(np.int64)
    total = int(offsets[-1])
    a = np.concatenate([np.zeros(0, int), *(offsets[i] + m[:, 0] for i, _, m in matches)])
    b = np.concatenate([np.zeros(0, int), *(offsets[j] + m[:, 1] for _, j, m in matches)])
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(total, total))
    _, label = connected_components(graph, directed=False)
    matched = np.unique(np.concatenate([a, b]))
    photo = np.searchsorted(offsets, matched, side="right") - 1
    track = np.unique(label[matched], return_inverse=True)[1]
    order = np.lexsort((photo, track))
    photo, track, matched = photo[order], track[order], matched[order]
    twice = np.flatnonzero((np.diff(track) == 0) & (np.diff(photo) == 0))
    sound = np.ones(int(track.max(initial=-1)) + 1, bool)
    sound[track[twice]] = False
    joined = Tracks(photo=photo, keypoint=matched - offsets[photo], track=track)
    return joined.kept(sound)


def spanning_tracks(tracks: Tracks, releases: Sequence[str]) -> Tracks:
    """Drop tracks that only the bands of one release of the shutter see.

    Their rays are a few centimetres apart and say nothing of how far the point is.  `releases` says
    which release each photograph belongs to; empty for one by itself.
    """
    number: dict[str, int] = {}
    release = np.array(
        [number.setdefault(name or f"\0{photo}", photo) for photo, name in enumerate(releases)]
    )
    of = release[tracks.photo]
    count = len(tracks.lengths)
    least, most = np.full(count, len(releases)), np.full(count, -1)
    np.minimum.at(least, tracks.track, of)
    np.maximum.at(most, tracks.track, of)
    return tracks.kept(most > least)


def choose_tracks(
    tracks: Tracks,
    xy_px: Sequence[NDArray[np.float32]],
    long_sides_px: Sequence[int],
    options: TrackOptions,
) -> Tracks:
    """Keep the longest tracks of every cell of every photograph.

    Given are the keypoint positions (N, 2) and the long side of each photograph.

    Long tracks tie more photographs together than short ones do, and an even cover determines
    the lens; a few hundred such points per photograph fix a block as well as thousands.  Among
    tracks of equal length those of small scale are preferred, whose places are more precise;
    keypoints are ordered by decreasing scale.
    """
    lengths = tracks.lengths
    cell = np.empty(len(tracks.photo), np.int64)
    for photo, mine in enumerate(tracks.by_photo(len(long_sides_px))):
        long_side_px = long_sides_px[photo]
        place = (xy_px[photo][tracks.keypoint[mine]] // (long_side_px / options.cells)).astype(int)
        cell[mine] = (photo * (options.cells + 1) + place[:, 1]) * (options.cells + 1) + place[:, 0]
    rank = rank_in_cells(cell, -tracks.keypoint, -lengths[tracks.track])
    wanted = np.zeros(len(lengths), bool)
    wanted[tracks.track[rank < options.per_cell]] = True
    return tracks.kept(wanted)


pycolmap.logging.minloglevel = 2  # errors; ours are raised, COLMAP's chatter helps no user


@dataclass(frozen=True, slots=True, kw_only=True)
class SfmOptions:
    """How the block is grown."""

    global_above: int = 300
    """Photographs above which poses are solved all at once instead of one after the other."""
    overlap: int = 20
    """Photographs that a growing piece may share with another before it stops."""
    min_inliers: int = 15
    """Tie points that a photograph must see to join: what makes a pair makes a photograph."""
    max_error_px: float = 4.0
    """Of a tie point, in the ideal picture, beyond which an observation is dropped."""
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Photographs:
    """What reconstruction needs to know of the photographs, each in the same order."""

    names: tuple[str, ...]
    camera_ids: tuple[str, ...]
    cameras: Mapping[str, Camera]
    xy_px: Sequence[NDArray[np.float32]]
    """Keypoints, full size, (N, 2) each."""
    ideal_px: Sequence[Float]
    """The same in the ideal picture."""


def reconstruct(
    photographs: Photographs,
    pairs: Sequence[VerifiedPair],
    tracks: Tracks,
    work_dir: Path,
    *,
    options: SfmOptions,
    threads: int,
    start: Path | None = None,
    track: Track = silent,
) -> list[Block]:
    """Orient photographs relative to one another.

    Matches outside the tracks are ignored. The work folder is for COLMAP's database, which nothing
    needs afterwards: empty, or not there yet. One piece without all photographs is kept in its
    folder `START`; given as `start` for the same photographs and keypoints, it is grown on.

    Returns pieces that could not be joined, the largest first; poses and points in frames of their
    own. Observations are at full size, with the distortion still in them.
    """
    (work_dir / "models").mkdir(parents=True)
    database = work_dir / "database.db"
    _write_database(database, photographs, pairs, tracks)
    count = len(photographs.names)
    label = "Orienting photographs"
    if start is None and count > options.global_above:
        models = _solve_globally(database, work_dir, options, threads)
        for _ in track(range(count), label, count):
            pass
    else:
        growth = _Growth(database, work_dir / "models", options, threads, start)
        for _ in track(growth.registered(), label, count):
            pass
        models = growth.models
    if len(models) == 1 and models[0].num_reg_images() < count:
        (work_dir / START).mkdir()
        models[0].write(str(work_dir / START))
    track_of = _labels(photographs, tracks)
    blocks = [_to_block(model, photographs, track_of) for model in models]
    blocks.sort(key=lambda block: (-len(block.names), block.names))
    log.info("reconstruction: pieces of %s photographs", [len(b.names) for b in blocks])
    return blocks


def _write_database(
    path: Path, photographs: Photographs, pairs: Sequence[VerifiedPair], tracks: Tracks
) -> None:
    """Write COLMAP's database; ids are indices plus one."""
    label = _labels(photographs, tracks)
    camera_index = {key: i for i, key in enumerate(sorted(photographs.cameras), 1)}
    with pycolmap.Database.open(str(path)) as database, pycolmap.DatabaseTransaction(database):
        for key, index in camera_index.items():
            camera = ideal_camera(photographs.cameras[key])
            camera.camera_id = index
            database.write_camera(camera, True)
            rig = pycolmap.Rig(rig_id=index)
            rig.add_ref_sensor(camera.sensor_id)
            database.write_rig(rig, True)
        for index, (name, key) in enumerate(
            zip(photographs.names, photographs.camera_ids, strict=True), 1
        ):
            image = pycolmap.Image(name=name, camera_id=camera_index[key], image_id=index)
            frame = pycolmap.Frame(frame_id=index, rig_id=camera_index[key])
            frame.add_data_id(image.data_id)
            database.write_image(image, True)
            database.write_frame(frame, True)
            database.write_keypoints(index, photographs.ideal_px[index - 1].astype(np.float32))
        for pair in pairs:
            a, b = label[pair.first][pair.inliers[:, 0]], label[pair.second][pair.inliers[:, 1]]
            geometry = _two_view_geometry(pair, (a >= 0) & (a == b))
            database.write_two_view_geometry(pair.first + 1, pair.second + 1, geometry)


def _labels(photographs: Photographs, tracks: Tracks) -> list[Int]:
    """Return the track of each keypoint of each photograph, -1 for none."""
    label = [np.full(len(xy), -1) for xy in photographs.xy_px]
    for of_photo, mine in zip(label, tracks.by_photo(len(label)), strict=True):
        of_photo[tracks.keypoint[mine]] = tracks.track[mine]
    return label


def _two_view_geometry(pair: VerifiedPair, kept: NDArray[np.bool_]) -> pycolmap.TwoViewGeometry:
    geometry = pycolmap.TwoViewGeometry()
    geometry.config = pycolmap.TwoViewGeometryConfiguration(pair.configuration)
    for key, matrix in zip("EFH", pair.matrices, strict=True):
        if matrix.any():
            setattr(geometry, key, matrix)
    geometry.inlier_matches = pair.inliers[kept]
    return geometry


class _Growth:
    """Incremental reconstruction on a thread, so that progress is seen and an interrupt heard."""

    def __init__(
        self, database: Path, output: Path, options: SfmOptions, threads: int, start: Path | None
    ) -> None:
        self.models: list[pycolmap.Reconstruction] = []
        self._start = "" if start is None else str(start)
        self._arguments = (str(database), str(output), str(output))
        self._options = _incremental_options(options, threads)
        self._events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._cancel = pycolmap.CancellationToken()
        self._failure: BaseException | None = None

    def registered(self) -> Iterator[str]:
        """Run the reconstruction, yielding once for each photograph that joins."""
        thread = threading.Thread(target=self._run, name="reconstruction", daemon=True)
        thread.start()
        try:
            while thread.is_alive() or not self._events.empty():
                try:
                    yield self._events.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
        finally:
            self._cancel.cancel()
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _joined(self, photographs: int = 1) -> None:
        for _ in range(photographs):
            self._events.put("joined")

    def _run(self) -> None:
        try:
            models = pycolmap.incremental_mapping(
                *self._arguments,
                options=self._options,
                input_path=self._start,
                initial_image_pair_callback=lambda: self._joined(2),
                next_image_callback=self._joined,
                cancellation_token=self._cancel,
            )
            self.models = [models[key] for key in sorted(models)]
        except BaseException as error:  # handed to the thread that waits
            self._failure = error


def _incremental_options(options: SfmOptions, threads: int) -> pycolmap.IncrementalPipelineOptions:
    chosen = pycolmap.IncrementalPipelineOptions()
    chosen.num_threads = threads
    chosen.random_seed = options.seed
    chosen.extract_colors = False
    chosen.min_model_size = 2
    chosen.max_model_overlap = options.overlap
    chosen.ba_refine_focal_length = False
    chosen.mapper.abs_pose_refine_focal_length = False
    chosen.mapper.abs_pose_refine_extra_params = False
    chosen.mapper.abs_pose_min_num_inliers = options.min_inliers
    chosen.mapper.filter_max_reproj_error = options.max_error_px
    # The block is adjusted again at the end: here it need only hold together.
    chosen.ba_global_frames_ratio = 1.4
    chosen.ba_global_points_ratio = 1.4
    chosen.ba_global_max_refinements = 2
    chosen.ba_local_max_refinements = 1
    chosen.triangulation.ignore_two_view_tracks = False
    return chosen


def _solve_globally(
    database: Path, work_dir: Path, options: SfmOptions, threads: int
) -> list[pycolmap.Reconstruction]:
    chosen = pycolmap.GlobalPipelineOptions()
    chosen.num_threads = threads
    chosen.random_seed = options.seed
    chosen.mapper.bundle_adjustment.refine_focal_length = False
    chosen.mapper.bundle_adjustment.ceres.use_gpu = False
    chosen.mapper.global_positioning.use_gpu = False
    output = str(work_dir / "models")
    models = pycolmap.global_mapping(str(database), output, output, options=chosen)
    return [models[key] for key in sorted(models)]


def _to_block(
    model: pycolmap.Reconstruction, photographs: Photographs, track_of: Sequence[Int]
) -> Block:
    image_ids = sorted(i for i, image in model.images.items() if image.has_pose)
    index = {image_id: photo for photo, image_id in enumerate(image_ids)}
    camera_ids = sorted({photographs.camera_ids[i - 1] for i in image_ids})
    points, observations = [], []
    for number, point_id in enumerate(sorted(model.points3D)):
        point = model.points3D[point_id]
        points.append(point.xyz)
        for element in point.track.elements:
            observations.append((index[element.image_id], number, element.point2D_idx))
    photo, point_of, keypoint = np.array(observations, np.int64).reshape(-1, 3).T
    xy_px, track = np.empty((len(photo), 2)), np.full(len(points), -1)
    starts = np.cumsum(np.bincount(photo, minlength=len(index)))[:-1]
    by_photo = np.split(np.argsort(photo, kind="stable"), starts)
    for image_id, mine in zip(image_ids, by_photo, strict=True):
        xy_px[mine] = photographs.xy_px[image_id - 1][keypoint[mine]]
        track[point_of[mine]] = track_of[image_id - 1][keypoint[mine]]
    return Block(
        names=tuple(photographs.names[i - 1] for i in image_ids),
        cameras=tuple(photographs.cameras[key] for key in camera_ids),
        camera_of=np.array([camera_ids.index(photographs.camera_ids[i - 1]) for i in image_ids]),
        poses=np.array([model.image(i).cam_from_world().params for i in image_ids]),
        points=np.array(points, float).reshape(-1, 3),
        photo=photo,
        point=point_of,
        xy_px=xy_px,
        track=track,
    )
