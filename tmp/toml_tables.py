"""TOML files as people write them: read, checked, and made into dataclasses.

A message says file, table and key, the value that cannot be, and what to write instead.
"""

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

Built = TypeVar("Built")
MAKERS = frozenset({"dji", "parrot", "micasense", "mapir", "sentera", "hasselblad"})
_KINDS = {float: "a number", int: "a whole number", str: 'text in "quotes"', bool: "true or false"}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    InputError
        If it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give another file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error}); correct it") from error


def table(document: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Return the table ``[NAME]`` of a document; an empty one where there is none.

    Parameters
    ----------
    where : str
        What messages begin with, such as the file.

    Raises
    ------
    InputError
        If something else has its name.
    """
    found = document.get(name, {})
    if not isinstance(found, dict):
        raise InputError(f"{where}: {name} = {found!r}; write it as a table, [{name}]")
    return found


def subtables(document: Mapping[str, Any], name: str, where: str) -> dict[str, dict[str, Any]]:
    """Return the tables ``[NAME.KEY]`` of a document by key, as `table` does; none without any."""
    found = table(document, name, where)
    for key, entry in found.items():
        if not isinstance(entry, dict):
            raise InputError(
                f'{where}: {name}.{key} = {entry!r}; write it as a table, [{name}."{key}"]'
            )
    return found


def build(
    cls: type[Built], entry: Mapping[str, Any], where: str, *, strict: bool = True, **given: Any
) -> Built:
    """Return the dataclass that a table is written for, its inner tables and lists alike.

    Parameters
    ----------
    cls : dataclass
        Of str, int, float, bool, `StrEnum`, tuples, mappings from str and dataclasses of these,
        each with or without None.
    where : str
        What messages begin with: the file and the table.
    strict : bool
        Whether a key that is no field is refused, or left alone.
    **given
        Fields that do not come from the table.

    Raises
    ------
    InputError
        If a field is missing or not known, or its value is of the wrong kind, or the dataclass
        itself refuses it.
    """
    assert is_dataclass(cls)
    hints = get_type_hints(cls)
    own = [field for field in fields(cls) if field.name not in given]
    if strict:
        refuse_unknown(entry, (field.name for field in own), where)
    values: dict[str, Any] = {}
    for field in own:
        if field.name in entry:
            said = entry[field.name]
            values[field.name] = _typed(said, hints[field.name], f"{where}: {field.name}", strict)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{where}: {field.name} is missing; add it")
    try:
        return cls(**values, **given)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _typed(value: Any, hint: Any, where: str, strict: bool) -> Any:
    """Return a TOML value as the type that a field is annotated with."""
    if get_origin(hint) is UnionType:  # of one kind and None, which TOML cannot say
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    kinds = get_args(hint)
    if is_dataclass(hint) and isinstance(value, dict):
        return build(hint, value, where, strict=strict)  # type: ignore[arg-type]
    if get_origin(hint) is Mapping and isinstance(value, dict):
        return {key: _typed(v, kinds[1], f"{where}.{key}", strict) for key, v in value.items()}
    if get_origin(hint) is tuple and isinstance(value, list):
        each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(value) == len(each):
            return tuple(_typed(v, k, where, strict) for v, k in zip(value, each, strict=True))
    return _scalar(value, hint, where)


def _scalar(value: Any, hint: Any, where: str) -> Any:
    """Return a TOML value as a number, a text, a choice or whatever else stands alone."""
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint is int and type(value) is float and value.is_integer():
        return int(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value in list(hint):
            return hint(value)
    elif type(value) is hint:
        return value
    raise InputError(f"{where} = {value!r}; give {_kind(hint)}")


def _kind(hint: Any) -> str:
    """Say what a field wants."""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return f"one of {', '.join(hint)}"
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        many = "a list" if kinds[-1] is Ellipsis else f"a list of {len(kinds)}"
        return f"{many}, each {_kind(kinds[0])}"
    return _KINDS.get(hint, "a table")


def refuse_unknown(said: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise `InputError` if something is said that is not known, with what is near."""
    known = list(known)
    for name in said:
        if name not in known:
            near = nearest(name, known) or f"; known are {', '.join(sorted(known))}"
            raise InputError(f"{where}: {name!r} is not known{near}")


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
