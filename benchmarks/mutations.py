"""Files of every kind that the platform reads, and what goes wrong with files.

`mutated` turns a good file into a bad one as disks, mail, editors and strangers do: bits and pieces
of its bytes, figures and lines of its text, members of its archive, cells of its table.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import sqlite3
import struct
import tempfile
import zipfile
from pathlib import Path

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
WORD = re.compile(r"[A-Za-z_]{3,}")
FIGURES = (
    *("nan", "inf", "-inf", "1e308", "-1e308", "1e400", "1e20", "-1", "0", "-0.0", "1e-320", ""),
    *("99999999999999999999", "9" * 5000, "0x10", "true", '"x"', "1,5", "91", "-181", "21592"),
)
WORDS = (
    *("", "nan", "NULL", "../../../etc/passwd", "/etc/passwd", "x" * 100_000, "\x00", "\x1b[31m"),
    *("Ólafsdalur", "日本語", "\ud800", "<a>", "&a;", "{{7*7}}", "$(touch x)", "a\nb", "EPSG:0"),
    *("http://127.0.0.1:9/x", "/vsicurl/http://127.0.0.1:9/x", "EPSG:4326", "EPSG:3857"),
)
NESTING = ("[", "{", "(", "<a>", '{"a":', "[[", "a.", "<Folder>", "GEOMETRYCOLLECTION(")
TEXTS = (
    *("toml", "json", "geojson", "kml", "wpml", "gml", "gpx", "wkt", "csv", "asc", "plan", "prj"),
    *("waypoints", "cpg"),
)
"""Files of letters; all others are changed by the byte."""
ENCODINGS = ("utf-16", "latin-1", "utf-8-sig", "utf-32", "cp1252")
WIDE = ("Shift_JIS", "EUC-JP", "EUC-KR", "GB2312", "Big5", "UTF-7", "no-such-encoding")
CELLS = (
    *("9e999", "-9e999", "1e308", "NULL", "-1", "0", "''", "'x'", "91", "-181"),
    *("CAST(x'ff41fe' AS TEXT)", "x'00'", "'../../etc/passwd'", "9223372036854775807", "''''"),
)


def mutated(name: str, content: bytes, chance: random.Random) -> bytes:
    """Return a file's bytes with something wrong in them."""
    if chance.random() < 0.02:
        return chance.choice((b"", b"\x00" * 64, chance.randbytes(500), b"<html>404</html>"))
    suffix = name.rpartition(".")[2].lower()
    if suffix == "gpkg" and chance.random() < 0.75:
        return _table(content, chance)
    if suffix in ("kmz", "zip") and chance.random() < 0.7:
        return _archive(content, chance)
    if suffix not in TEXTS or chance.random() < 0.2:
        if suffix in ("jpg", "tif") and chance.random() < 0.3:
            return _figures_within(content, chance)
        return _bytes(content, chance)
    return _text(content.decode("utf-8"), chance)


def _bytes(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at, length = chance.randrange(len(data) or 1), chance.choice((1, 2, 4, 8, 64, 512))
        # Headers decide most: half of what happens, happens there.
        at = at % min(len(data) or 1, 2048) if chance.random() < 0.5 else at
        match chance.randrange(7):
            case 0 if data:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at : at + length] = chance.randbytes(length)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                del data[at:]
            case 5:
                data[at : at + length] = bytes([chance.choice((0, 255))]) * length
            case 6:
                extreme = chance.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 65_535))
                data[at : at + 4] = struct.pack(chance.choice("<>") + "I", extreme)
    return bytes(data)


def _figures_within(content: bytes, chance: random.Random) -> bytes:
    """Change figures of the text in a picture's file, and leave all offsets as they are."""
    data = bytearray(content)
    found = list(re.finditer(rb'(?<=")[-+]?\d+(?:\.\d+)?(?=")', content))
    for match in chance.sample(found, min(len(found), chance.choice((1, 1, 3)))):
        length = len(match[0])
        word = chance.choice([w for w in FIGURES if len(w) <= length] or ["0"])
        data[match.start() : match.end()] = word.encode().ljust(length)
    return bytes(data)


def _text(text: str, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                text = _swap(text, NUMBER, FIGURES, chance)
            case 4:
                text = _swap(text, WORD, WORDS, chance)
            case 5 | 6:
                text = _lines(text, chance)
            case 7:
                at = chance.randrange(len(text) + 1)
                depth = chance.choice((10, 1000, 5000, 20_000))
                text = text[:at] + chance.choice(NESTING) * depth + text[at:]
            case 8:
                at = chance.randrange(len(text) + 1)
                text = chance.choice((text[:at], text[at:], text[:at] + text[at + 1 :]))
            case 9:
                return _encoded(text, chance)
    return text.encode("utf-8", errors="surrogatepass")


def _swap(text: str, what: re.Pattern[str], others: tuple[str, ...], chance: random.Random) -> str:
    found = list(what.finditer(text))
    if not found:
        return text
    match = chance.choice(found)
    return text[: match.start()] + chance.choice(others) + text[match.end() :]


def _lines(text: str, chance: random.Random) -> str:
    lines = text.split("\n") if text.count("\n") > 3 else re.split(r"(?=[<,])", text)
    joint = "\n" if text.count("\n") > 3 else ""
    at = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            other = chance.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at:at] = [lines[at]] * chance.choice((100, 3000))
    return joint.join(lines)


def _encoded(text: str, chance: random.Random) -> bytes:
    if "encoding=" in text[:100]:
        name = chance.choice(WIDE)
        text = re.sub(r'encoding="[^"]*"', f'encoding="{name}"', text, count=1)
        with contextlib.suppress(LookupError):
            return text.encode(name, errors="ignore")
        return text.encode()
    return text.encode(chance.choice(ENCODINGS), errors="ignore")


def _archive(content: bytes, chance: random.Random) -> bytes:
    """Change one member, as whoever packs an archive anew."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(list(members))
    members[name] = mutated(name, members[name], chance)
    if chance.random() < 0.2:
        members[chance.choice(("../../evil", "/abs.kml", "a" * 300, "doc.kml"))] = b"x"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return buffer.getvalue()


def _table(content: bytes, chance: random.Random) -> bytes:
    """Change cells, rows or columns, as somebody does in a GIS or a database."""
    with tempfile.NamedTemporaryFile(suffix=".gpkg") as file:
        path = Path(file.name)
        path.write_bytes(content)
        base = sqlite3.connect(path)
        with contextlib.suppress(sqlite3.Error), contextlib.closing(base), base:
            query = "SELECT name FROM sqlite_master WHERE type = "
            for (trigger,) in base.execute(f"{query} 'trigger'").fetchall():
                base.execute(f'DROP TRIGGER "{trigger}"')
            tables = [row[0] for row in base.execute(f"{query} 'table'").fetchall()]
            own = [t for t in tables if not t.startswith(("gpkg_", "rtree_", "sqlite_"))]
            table = chance.choice(own if chance.random() < 0.8 else tables)
            columns = [row[1] for row in base.execute(f'PRAGMA table_info("{table}")')]
            for _ in range(chance.choice((1, 1, 2))):
                _change(base, table, chance.choice(columns), chance)
        return path.read_bytes()


def _change(base: sqlite3.Connection, table: str, column: str, chance: random.Random) -> None:
    where = chance.choice(("", " WHERE rowid = 1"))
    match chance.randrange(8):
        case 0:
            base.execute(f'DELETE FROM "{table}"{where}')
        case 1:
            base.execute(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')
        case 2:
            base.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "other"')
        case _:
            base.execute(f'UPDATE "{table}" SET "{column}" = {chance.choice(CELLS)}{where}')
