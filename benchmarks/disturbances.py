"""Cards of rehearsed photographs with known truth, and what goes wrong with them in the field.

A `Card` is a folder of photographs with their true poses beside it.  Metadata are rewritten
without touching the pictures; disturbances of the pictures encode them anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.ExifTags import IFD

from flightplan.rehearsal.camera import PhotoTags, to_exif, to_xmp, write_photograph
from flightplan.rehearsal.photographs import RenderedPhotograph, Station
from tmp.cameras import Camera
from tmp.files import replacing
from tmp.geo.frames import LocalFrame

SHOTS = "shots.json"
PHOTOS = "photos"
QUALITY = 92
EXIF_HEAD = b"Exif\x00\x00"
XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\x00"
APP1, START_OF_SCAN = 0xE1, 0xDA
POSITION_ENTRIES = ("Gps", "Absolute", "Relative", "Altitude", "Rtk")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Photographs and what is true of them."""

    folder: Path
    """Holds ``photos/`` and ``shots.json``."""
    frame: LocalFrame
    cameras: dict[str, Camera]
    """True interior orientation by the camera id of the shots."""
    shots: tuple[RenderedPhotograph, ...]
    """Of the photographs of the survey, in the order they were taken."""
    hopeless: tuple[str, ...] = ()
    """Names of shots that nobody need orient."""

    @property
    def photos(self) -> Path:
        """Folder of the photographs."""
        return self.folder / PHOTOS

    @property
    def possible(self) -> tuple[RenderedPhotograph, ...]:
        """Shots that can be oriented."""
        return tuple(shot for shot in self.shots if shot.name not in self.hopeless)


def write_card(card: Card) -> Card:
    """Write what is true of a card beside its photographs; returns the card."""
    document = {
        "frame": {"origin": card.frame.origin, "crs": card.frame.crs},
        "cameras": {name: asdict(camera) for name, camera in card.cameras.items()},
        "shots": [
            asdict(shot) | {"tags": asdict(shot.tags) | {"time": shot.tags.time.isoformat()}}
            for shot in card.shots
        ],
        "hopeless": card.hopeless,
    }
    with replacing(card.folder / SHOTS) as beside:
        beside.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return card


def read_card(folder: Path) -> Card:
    """Read what `write_card` wrote."""
    document = json.loads((folder / SHOTS).read_text(encoding="utf-8"))
    origin = document["frame"]["origin"]
    return Card(
        folder=folder,
        frame=LocalFrame(origin=(origin[0], origin[1], origin[2]), crs=document["frame"]["crs"]),
        cameras={name: Camera(**entry) for name, entry in document["cameras"].items()},
        shots=tuple(_shot(entry) for entry in document["shots"]),
        hopeless=tuple(document["hopeless"]),
    )


def _shot(entry: dict[str, Any]) -> RenderedPhotograph:
    station, tags = dict(entry["station"]), dict(entry["tags"])
    station["position"] = tuple(station["position"])
    tags["time"] = datetime.fromisoformat(tags["time"])
    if tags["rtk_sigma_m"] is not None:
        tags["rtk_sigma_m"] = tuple(tags["rtk_sigma_m"])
    return RenderedPhotograph(
        name=entry["name"],
        camera_id=entry["camera_id"],
        station=Station(**station),
        tags=PhotoTags(**tags),
    )


def copied(card: Card, folder: Path, shots: Iterable[RenderedPhotograph] | None = None) -> Card:
    """Return a card of its own folder with some of the photographs, as hard links where possible.

    A photograph whose tags differ from those of the card it comes from is written with them.
    """
    chosen = card.shots if shots is None else tuple(shots)
    before = {shot.name: shot for shot in card.shots}
    made = replace(card, folder=folder, shots=chosen)
    made.photos.mkdir(parents=True, exist_ok=True)
    for shot in chosen:
        source, target = card.photos / shot.name, made.photos / shot.name
        if shot.tags != before[shot.name].tags:
            retag(source, target, shot.tags)
        else:
            link(source, target)
    return write_card(made)


def link(source: Path, target: Path) -> None:
    """Put a file at another place, as a hard link where the disk knows them."""
    target.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(source, target)
    if not target.exists():
        shutil.copyfile(source, target)


def retag(
    source: Path, target: Path, tags: PhotoTags, *, position: bool = True, gimbal: bool = True
) -> None:
    """Write a JPEG with other tags and the same picture, bit by bit.

    Parameters
    ----------
    position, gimbal : bool
        Whether the tags tell the position (heights included), and the gimbal's angles.
    """
    content = source.read_bytes()
    width, height = Image.open(source).size
    exif, xmp = to_exif(tags, width, height), to_xmp(tags)
    if not position:
        exif.get_ifd(IFD.GPSInfo).clear()
        xmp = _without(xmp, POSITION_ENTRIES)
    if not gimbal:
        xmp = _without(xmp, ("Gimbal",))
    blocks = [EXIF_HEAD + exif.tobytes().removeprefix(EXIF_HEAD), XMP_HEAD + xmp]
    segments = [
        part for part in _segments(content) if not part.startswith((b"\xff\xe1", b"\xff\xd8"))
    ]
    # JFIF's own header, where there is one, comes first.
    first = 1 if segments and segments[0].startswith(b"\xff\xe0") else 0
    told = [struct.pack(">BBH", 0xFF, APP1, len(block) + 2) + block for block in blocks]
    target.unlink(missing_ok=True)
    with replacing(target) as beside:
        beside.write_bytes(b"".join([b"\xff\xd8", *segments[:first], *told, *segments[first:]]))


def _segments(content: bytes) -> Iterator[bytes]:
    """Yield the start of a JPEG, its segments, and the picture as one."""
    yield content[:2]
    at = 2
    while content[at + 1] != START_OF_SCAN:
        length = 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
        yield content[at : at + length]
        at += length
    yield content[at:]


def _without(xmp: bytes, names: Iterable[str]) -> bytes:
    entries = "|".join(names)
    return re.sub(rf'\s*drone-dji:(?:{entries})\w*="[^"]*"'.encode(), b"", xmp)


def moved(tags: PhotoTags, frame: LocalFrame, east: float, north: float, up: float) -> PhotoTags:
    """Return tags whose recorded position is off by so many metres."""
    recorded = [[tags.longitude_deg, tags.latitude_deg, tags.height_ellipsoid_m]]
    world = frame.world_from_geodetic(recorded) + np.array([east, north, up])
    longitude, latitude, height = frame.geodetic_from_world(world)[0].tolist()
    return replace(tags, longitude_deg=longitude, latitude_deg=latitude, height_ellipsoid_m=height)


# What goes wrong with the metadata


def drifting_heights(card: Card, folder: Path, *, drift_m: float = 100.0) -> Card:
    """Let the recorded heights drift over the flight; the barometer's stay right."""
    last = len(card.shots) - 1
    return copied(
        card,
        folder,
        [
            replace(shot, tags=moved(shot.tags, card.frame, 0, 0, drift_m * number / last))
            for number, shot in enumerate(card.shots)
        ],
    )


def two_flights(card: Card, folder: Path) -> Card:
    """Record the second half 45 minutes later, all of it 6 m east, 4 m south and 18 m up."""
    half = len(card.shots) // 2
    later = [
        replace(
            shot,
            tags=replace(
                moved(shot.tags, card.frame, 6.0, -4.0, 18.0),
                time=shot.tags.time + timedelta(minutes=45),
            ),
        )
        for shot in card.shots[half:]
    ]
    return copied(card, folder, [*card.shots[:half], *later])


def shifted_by_one(card: Card, folder: Path) -> Card:
    """Give each photograph the position of the next: the clock of the camera slipped."""
    following = [*card.shots[1:], card.shots[-1]]
    return copied(
        card,
        folder,
        [
            replace(
                shot,
                tags=replace(
                    shot.tags,
                    longitude_deg=other.tags.longitude_deg,
                    latitude_deg=other.tags.latitude_deg,
                    height_ellipsoid_m=other.tags.height_ellipsoid_m,
                    height_takeoff_m=other.tags.height_takeoff_m,
                ),
            )
            for shot, other in zip(card.shots, following, strict=True)
        ],
    )


def wrong_focal(card: Card, folder: Path, *, factor: float = 1.15) -> Card:
    """Record a wrong focal length."""
    return copied(
        card,
        folder,
        [
            replace(shot, tags=replace(shot.tags, focal_mm=factor * shot.tags.focal_mm))
            for shot in card.shots
        ],
    )


def untold(
    card: Card,
    folder: Path,
    *,
    positions: Callable[[int], bool] = lambda number: True,
    gimbal: bool = True,
) -> Card:
    """Leave positions of some photographs, or all gimbal angles, out of the metadata."""
    made = copied(card, folder)
    for number, shot in enumerate(card.shots):
        retag(
            card.photos / shot.name,
            made.photos / shot.name,
            shot.tags,
            position=positions(number),
            gimbal=gimbal,
        )
    return made


# What goes wrong with the choice of photographs


def only(card: Card, folder: Path, wanted: Callable[[int], bool]) -> Card:
    """Keep photographs by their number."""
    return copied(card, folder, [s for number, s in enumerate(card.shots) if wanted(number)])


def with_strays(card: Card, folder: Path) -> Card:
    """Put thumbnails without metadata and screenshots among the photographs."""
    made = copied(card, folder)
    for shot in card.shots[::6]:
        picture = Image.open(card.photos / shot.name).resize((160, 120))
        picture.save(made.photos / f"thumb_{shot.name}", quality=75)
    for number, (suffix, form) in enumerate(((".png", "PNG"), (".jpg", "JPEG"))):
        screen = Image.new("RGB", (1080, 2340), (238, 240, 236))
        draw = ImageDraw.Draw(screen)
        map_part = Image.open(card.photos / card.shots[number].name).resize((1080, 1200))
        screen.paste(map_part, (0, 300))
        draw.rectangle((0, 0, 1080, 110), fill=(30, 60, 90))
        for line in range(8):
            draw.rectangle((60, 1600 + 80 * line, 900 - 70 * (line % 3), 1630 + 80 * line),
                           fill=(70, 70, 70))  # fmt: skip
        screen.save(made.photos / f"Screenshot_2026-07-18-15-0{number}{suffix}", format=form)
    return made


def joined(card: Card, folder: Path, other: Card, *, hopeless: bool, later: timedelta) -> Card:
    """Add the photographs of another card, taken later, to those of a card."""
    made = copied(card, folder)
    shots = list(made.shots)
    for shot in other.shots:
        tags = replace(shot.tags, time=shot.tags.time + later)
        retag(other.photos / shot.name, made.photos / shot.name, tags)
        shots.append(replace(shot, tags=tags))
    names = tuple(shot.name for shot in other.shots) if hopeless else ()
    return write_card(
        replace(
            made,
            shots=tuple(shots),
            cameras=made.cameras | other.cameras,
            hopeless=made.hopeless + names,
        )
    )


# What goes wrong with the pictures


def altered(
    card: Card, folder: Path, change: Callable[[Pixels], Pixels], wanted: Callable[[int], bool]
) -> Card:
    """Change the pictures of some photographs, by their number."""
    made = copied(card, folder)
    for number, shot in enumerate(card.shots):
        if wanted(number):
            target = made.photos / shot.name
            pixels = change(np.asarray(Image.open(target).convert("RGB")))
            target.unlink()  # a link to the card's own
            write_photograph(target, pixels, shot.tags, quality=QUALITY)
    return made


def smeared(pixels: Pixels, *, length_px: int = 15) -> Pixels:
    """Return a picture blurred by the camera's own movement, and out of focus."""
    kernel = np.zeros((length_px, length_px), np.float32)
    cv2.line(kernel, (0, length_px // 4), (length_px - 1, 3 * length_px // 4), 1.0)
    moved_px = cv2.filter2D(pixels, -1, kernel / kernel.sum())
    return np.asarray(cv2.GaussianBlur(moved_px, (0, 0), 1.2), np.uint8)


def blurred(card: Card, folder: Path, *, every: int = 10) -> Card:
    """Blur one photograph in so many; the others have to do without them."""
    made = altered(card, folder, smeared, lambda number: number % every == every // 2)
    names = tuple(shot.name for shot in card.shots[every // 2 :: every])
    return write_card(replace(made, hopeless=names))


def shrunk(card: Card, folder: Path, *, width_px: int, height_px: int) -> Card:
    """Reduce the photographs, as a messenger does, with the metadata to match."""
    (camera,) = card.cameras.values()
    shots = []
    (folder / PHOTOS).mkdir(parents=True, exist_ok=True)
    for shot in card.shots:
        pixels = np.asarray(Image.open(card.photos / shot.name).convert("RGB"))
        small = cv2.resize(pixels, (width_px, height_px), interpolation=cv2.INTER_AREA)
        scale = width_px / camera.width_px
        tags = replace(shot.tags, pixels_per_mm=scale * shot.tags.pixels_per_mm)
        write_photograph(
            folder / PHOTOS / shot.name, np.asarray(small, np.uint8), tags, quality=QUALITY
        )
        shots.append(replace(shot, tags=tags))
    cameras = {camera.camera_id: camera.scaled(width_px, height_px)}
    return write_card(replace(card, folder=folder, shots=tuple(shots), cameras=cameras))
