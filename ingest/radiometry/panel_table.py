"""What reflectance panels reflect: from the user's ``panels.toml``, or read off the serial number.

::

    [panels."RP02-1603036-SC"]            # by band, as on the maker's data sheet
    blue = 0.67
    green = 0.69

    [panels."grey card"]                  # or by wavelength
    wavelengths_nm = [400, 900]
    reflectance = [0.18, 0.19]

    [[targets]]                           # a panel without a code, outlined in one photograph
    photograph = "100MEDIA/DJI_0001.TIF"
    panel = "grey card"
    corners_px = [[410, 300], [470, 302], [468, 361], [409, 360]]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tmp.errors import InputError
from tmp.files import build, read_toml, refuse_unknown, replacing, subtables
from tmp.radiometry import Band

FILE = "panels.toml"
"""In the survey's folder."""
SERIAL = re.compile(r"RP(?P<version>\d{2})-\d{7}-[A-Z]{2}.*", re.DOTALL)
ENCODED = re.compile(r"(?P<low_nm>\d{4})(?P<low>\d{3})(?P<high_nm>\d{4})(?P<high>\d{3})\Z")
ENCODED_FROM = 4
"""Version of MicaSense panels from which the code tells reflectance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelAlbedo:
    """Reflectance of one panel."""

    by_band: Mapping[str, float] = field(default_factory=dict)
    wavelengths_nm: tuple[float, ...] = ()
    reflectance: tuple[float, ...] = ()
    """At `wavelengths_nm`; held constant beyond both ends."""

    def __post_init__(self) -> None:
        if len(self.wavelengths_nm) != len(self.reflectance):
            raise InputError(
                f"panel with {len(self.wavelengths_nm)} wavelengths and {len(self.reflectance)} "
                "reflectances; give as many of both"
            )
        if list(self.wavelengths_nm) != sorted(set(self.wavelengths_nm)):
            raise InputError(f"panel wavelengths {self.wavelengths_nm!r} must increase")
        for value in (*self.by_band.values(), *self.reflectance):
            if not 0 < value <= 1:
                raise InputError(f"panel reflectance {value!r}; give a fraction between 0 and 1")

    def at(self, band: Band) -> float | None:
        """Return the reflectance in a band; None where nothing is said about it."""
        if band.name in self.by_band:
            return self.by_band[band.name]
        if len(self.reflectance) == 1:
            return self.reflectance[0]
        if self.reflectance and band.centre_nm is not None:
            return float(np.interp(band.centre_nm, self.wavelengths_nm, self.reflectance))
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A panel that a person outlined in a photograph."""

    photograph: str
    """Name in the survey."""
    panel: str
    corners_px: tuple[tuple[float, float], ...]
    """x, y; corner of the first pixel at (0, 0)."""

    def __post_init__(self) -> None:
        if len(self.corners_px) < 3:
            raise InputError(f"corners_px of {self.photograph!r} outline nothing; give 3 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelTable:
    """The panels of a survey, and those that no program can find."""

    panels: Mapping[str, PanelAlbedo] = field(default_factory=dict)
    """By serial number, or by any name."""
    targets: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        for target in self.targets:
            if target.panel not in self.panels:
                raise InputError(
                    f"target in {target.photograph!r}: panel {target.panel!r} is not listed; "
                    f"add [panels.{target.panel!r}]"
                )

    def listed(self, serial: str, band: Band) -> float | None:
        """Return the reflectance that the table gives for a panel in a band, if any."""
        known = self.panels.get(serial) or self.panels.get(serial[:15])
        return known.at(band) if known else None

    def at(self, serial: str, band: Band) -> float | None:
        """Return the reflectance of a panel in a band, from the table or its serial number."""
        listed = self.listed(serial, band)
        return albedo_from_serial(serial, band) if listed is None else listed


def panel_version(serial: str) -> int | None:
    """Return the version of a MicaSense panel; None for any other code.

    Examples
    --------
    >>> panel_version("RP02-1603036-SC"), panel_version("https://example.org")
    (2, None)
    """
    found = SERIAL.fullmatch(serial)
    return int(found["version"]) if found else None


def albedo_from_serial(serial: str, band: Band) -> float | None:
    """Return the reflectance that a panel's serial number tells; None before version 4.

    The last 14 digits are two wavelengths (nm, four digits) with their reflectances (thousandths,
    three digits); reflectance between and beyond is a straight line.

    Examples
    --------
    >>> albedo_from_serial("RP04-1825160-OB-04754920842485", Band(name="red", centre_nm=668))
    0.488...
    """
    version = panel_version(serial)
    encoded = ENCODED.search(serial)
    if version is None or version < ENCODED_FROM or encoded is None or band.centre_nm is None:
        return None
    low_nm, high_nm = float(encoded["low_nm"]), float(encoded["high_nm"])
    low, high = float(encoded["low"]) / 1000, float(encoded["high"]) / 1000
    if high_nm == low_nm:
        return None
    return low + (high - low) * (band.centre_nm - low_nm) / (high_nm - low_nm)


def read_panels(path: Path) -> PanelTable:
    """Read ``panels.toml``.

    Raises `InputError` if it is missing, no TOML, or says something that cannot be.
    """
    document, where = read_toml(path), str(path)
    refuse_unknown(document, ("panels", "targets"), where)
    targets = document.get("targets", [])
    if not isinstance(targets, list) or not all(isinstance(row, dict) for row in targets):
        raise InputError(f"{path}: targets = {targets!r}; write [[targets]] before each")
    return build(
        PanelTable,
        {},
        where,
        panels={
            name: _albedo(row, f'{where}: [panels."{name}"]')
            for name, row in subtables(document, "panels", where).items()
        },
        targets=tuple(
            build(Target, row, f"{where}: target {number}") for number, row in enumerate(targets, 1)
        ),
    )


def _albedo(row: Mapping[str, Any], where: str) -> PanelAlbedo:
    """Return what one table says: by wavelength, by band, or one figure for all light."""
    curve = {key: row[key] for key in ("wavelengths_nm", "reflectance") if key in row}
    if isinstance(row.get("reflectance"), int | float):
        curve = {"wavelengths_nm": [550.0], "reflectance": [row["reflectance"]]}
    by_band = {name.lower(): value for name, value in row.items() if name not in curve}
    return build(PanelAlbedo, curve | {"by_band": by_band}, where)


def add_panels(path: Path, panels: Mapping[str, PanelAlbedo]) -> None:
    """Add panels to a panel file, or make it; what else it holds stays as it is.

    Raises `InputError` if the file cannot be read.
    """
    import tomlkit

    if path.exists():
        read_panels(path)
    document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    tables = document.setdefault("panels", tomlkit.table(is_super_table=True))
    for serial, albedo in panels.items():
        table = tomlkit.table()
        table.update(albedo.by_band)
        if albedo.reflectance:
            table["wavelengths_nm"] = list(albedo.wavelengths_nm)
            table["reflectance"] = list(albedo.reflectance)
        tables[serial] = table
    with replacing(path) as temporary:
        temporary.write_text(tomlkit.dumps(document), encoding="utf-8", newline="\n")


def parse_panel(text: str) -> tuple[str, PanelAlbedo]:
    """Return serial and reflectance from ``SERIAL:blue=0.67,green=0.69`` or ``SERIAL:0.5``.

    Raises `InputError` if it is written otherwise.

    Examples
    --------
    >>> parse_panel("RP02-1603036-SC:red=0.68,nir=0.61")[1].by_band
    {'red': 0.68, 'nir': 0.61}
    """
    serial, _, listed = text.rpartition(":")
    try:
        if not serial:
            raise ValueError("no serial number")
        if "=" not in listed:
            return serial, PanelAlbedo(wavelengths_nm=(550.0,), reflectance=(float(listed),))
        parts = (part.partition("=") for part in listed.split(","))
        by_band = {name.strip().lower(): float(value) for name, _, value in parts}
    except ValueError as error:
        raise InputError(
            f"panel {text!r}: {error}; write 'SERIAL:blue=0.67,green=0.69,red=0.68' or 'SERIAL:0.5'"
        ) from error
    return serial, PanelAlbedo(by_band=by_band)
