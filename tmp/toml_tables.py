"""Equipment files: TOML tables checked, laid over one another, and made into dataclasses."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tmp.errors import InputError

Tables = dict[str, dict[str, dict[str, Any]]]
"""Kind (``camera``, ``drone``), key, and the fields as the file has them."""
Built = TypeVar("Built")
MAKERS = frozenset({"dji", "parrot", "micasense", "mapir", "sentera", "hasselblad"})


def read_tables(path: Path, allowed: Mapping[str, set[str]]) -> Tables:
    """Read an equipment file, whose tables are ``[KIND.KEY]``.

    Parameters
    ----------
    path : Path
    allowed : mapping
        Kind to the names of the fields that its entries may have.

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, or holds a kind or field that is not known.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from error
    for kind, entries in data.items():
        if kind not in allowed or not isinstance(entries, dict):
            kinds = " or ".join(f"[{kind}.KEY]" for kind in allowed)
            raise InputError(f"{path}: {kind!r} is not known; write {kinds}")
        for key, entry in entries.items():
            if not isinstance(entry, dict):
                raise InputError(f"{path}: {kind}.{key} is not a table; write [{kind}.KEY]")
            _refuse_unknown(entry, allowed[kind], f"{path}: [{kind}.{key}]")
    return {kind: data.get(kind, {}) for kind in allowed}


def lay_over(below: Tables, above: Tables, path: Path) -> Tables:
    """Return tables in which the entries of a file at `path` change or join those below.

    An entry of a known key replaces just the fields it names, inner tables alike; where it does
    not say its source, the file is the source.
    """
    merged = {kind: dict(entries) for kind, entries in below.items()}
    for kind, entries in above.items():
        for key, entry in entries.items():
            old = merged[kind].get(key, {})
            source = f"{path}; else {old['source']}" if "source" in old else str(path)
            inner = {
                name: {**old[name], **value}
                for name, value in entry.items()
                if isinstance(value, dict) and isinstance(old.get(name), dict)
            }
            merged[kind][key] = {**old, "source": source, **entry, **inner}
    return merged


def build(cls: type[Built], key: str, entry: Mapping[str, Any]) -> Built:
    """Return the dataclass of an entry; its field ``key`` is the table's key.

    Raises
    ------
    InputError
        If a field is missing or not known, or its value is of the wrong kind.
    """
    assert is_dataclass(cls)
    hints = get_type_hints(cls)
    known = {field.name for field in fields(cls)}
    _refuse_unknown(entry, known, f"equipment {key!r}")
    values: dict[str, Any] = {"key": key} if "key" in known else {}
    for field in fields(cls):
        if field.name in entry:
            where = f"equipment {key!r}: {field.name}"
            values[field.name] = _typed(entry[field.name], hints[field.name], where)
        elif field.default is MISSING and field.name not in values:
            raise InputError(f"equipment {key!r}: {field.name} is missing; add it to the entry")
    return cls(**values)


def _typed(value: Any, hint: Any, where: str) -> Any:
    """Return a TOML value as the type that a field is annotated with."""
    if get_origin(hint) is UnionType:  # of one kind and None, which TOML cannot say
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    if is_dataclass(hint) and isinstance(value, dict):
        return build(hint, where, value)  # type: ignore[arg-type]
    if get_origin(hint) is tuple and isinstance(value, list):
        kinds = get_args(hint)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(value) == len(kinds):
            return tuple(_typed(v, kind, where) for v, kind in zip(value, kinds, strict=True))
    if hint is float and type(value) in (int, float):
        return float(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value in list(hint):
            return hint(value)
        raise InputError(f"{where} {value!r} is not known; choose from {', '.join(hint)}")
    if type(value) is hint:
        return value
    raise InputError(f"{where} {value!r} is of the wrong kind; see the entries of equipment.toml")


def _refuse_unknown(entry: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    allowed = set(allowed)
    for name in entry:
        if name not in allowed:
            raise InputError(f"{where}: {name!r} is not known{nearest(name, allowed)}")


def words(name: str) -> tuple[str, ...]:
    """Return a name's words and numbers, without maker and punctuation.

    Examples
    --------
    >>> words("DJI Mini-4 Pro"), words("mini4pro")
    (('mini', '4', 'pro'), ('mini', '4', 'pro'))
    """
    found = re.findall(r"[a-z]+|[0-9]+", name.casefold())
    return tuple(word for word in found if word not in MAKERS) or tuple(found)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean …"`` for a misspelt name, or nothing where nothing is near.

    Examples
    --------
    >>> nearest("widht_px", ["width_px", "shutter"])
    "; did you mean 'width_px'"
    """
    spellings = {"".join(words(key)): key for key in known}
    near = difflib.get_close_matches("".join(words(name)), spellings, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(spellings[key]) for key in near)}" if near else ""
