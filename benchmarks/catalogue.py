"""Catalogue a thousand captures of a multispectral camera: time to link them, and to copy them.

    python benchmarks/catalogue.py [--data DIR] [--captures N] [--keep FOLDER]

The card is made of a real survey's Parrot Sequoia captures, two bands each, over and over with new
ids, times and latitudes, so that no file is another's copy.  It takes 5 GB of disk.
"""

from __future__ import annotations

import io
import itertools
import re
import shutil
import struct
from pathlib import Path

import exifread
from measure import TMP, judge, parser, run, workplace

from ingest.grouping import rigs_of
from tmp.captures import read_captures

SURVEY = "garfield_sequoia"
MOST_SECONDS = 15.0
"""Promised for a thousand captures."""
INTERVAL_S = 1.5
STEP_DEG = 1e-5


def make_card(source: Path, card: Path, captures: int) -> int:
    """Fill a folder with captures made after real ones; returns the number of files."""
    bands = sorted({path.stem.rpartition("_")[2] for path in source.glob("*.TIF")})
    stems = sorted({path.stem.rpartition("_")[0] for path in source.glob("*.TIF")})
    real = [{b: (source / f"{stem}_{b}.TIF").read_bytes() for b in bands} for stem in stems]
    for index, files in zip(range(captures), itertools.cycle(real), strict=False):
        folder = card / f"{index // 500:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        for band, data in files.items():
            (folder / f"IMG_{index:05d}_{band}.TIF").write_bytes(changed(data, index))
    return captures * len(bands)


def changed(data: bytes, index: int) -> bytes:
    """Return a file of the same picture with another capture id, time and latitude."""
    found = bytearray(
        re.sub(rb'(CaptureUUID="|CaptureUUID>)[0-9A-F]{32}', rb"\g<1>%032X" % (index + 1), data)
    )
    with_tags = exifread.process_file(io.BytesIO(data), details=False)
    clock = with_tags["GPS GPSTimeStamp"].field_offset
    hours, rest = divmod(16 * 3600 + INTERVAL_S * index, 3600)
    minutes, seconds = divmod(rest, 60)
    struct.pack_into(
        "<6I", found, clock, int(hours), 1, int(minutes), 1, round(1000 * seconds), 1000
    )
    latitude = with_tags["GPS GPSLatitude"].field_offset + 16
    struct.pack_into("<2I", found, latitude, round((10 + 3600 * STEP_DEG * index) * 1000), 1000)
    return bytes(found)


def main() -> None:
    """Make the card, take it in twice, and print what it cost."""
    arguments = parser(__doc__)
    arguments.add_argument("--captures", type=int, default=1000)
    options = arguments.parse_args()
    with workplace(options.keep) as folder:
        files = make_card(options.data / SURVEY, folder / "card", options.captures)
        print(f"{options.captures} captures, {files} files")
        linked = run([TMP, "ingest", folder / "card", "--to", folder / "linked", "--link"])
        print(f"linked  {linked}")
        rigs = rigs_of(read_captures(folder / "linked" / "survey.gpkg"))
        again = run([TMP, "ingest", folder / "card", "--to", folder / "linked", "--link"])
        print(f"again   {again}")
        copied = run([TMP, "ingest", folder / "card", "--to", folder / "copied"])
        print(f"copied  {copied}")
        shutil.rmtree(folder / "copied")
        limit_s = MOST_SECONDS * options.captures / 1000
        judge(linked.wall_s <= limit_s, f"catalogued in {limit_s:g} s: {linked.wall_s:.1f} s")
        whole = sum(len(members) == files // options.captures for members in rigs.values())
        judge(whole == options.captures, f"every capture whole: {whole} of {options.captures}")


if __name__ == "__main__":
    main()
