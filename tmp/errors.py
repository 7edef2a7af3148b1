"""Errors a user can meet; each is also the builtin it resembles.

A message is one line, lower case, and says where, what, which value, and what to do:
``f"{path}: focal length missing; add {model!r} to survey.toml"``.

`require_range` refuses figures that cannot be.
"""

from __future__ import annotations

import math

MOST_LETTERS = 800
"""Of a message; a path alone may have a few hundred."""
LARGEST = 1e12
"""No figure in a file that people write is larger, whatever its unit."""
SMALLEST = 1e-9
"""Nor smaller and yet above nought."""


class TmpError(Exception):
    """Root of all platform errors."""

    def __str__(self) -> str:
        """Return the message in one line, whatever a name or a library has put into it."""
        return one_line(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """Have a notebook show the message, and not the way to it; IPython asks for this."""
        return [f"Error: {self}"]


def one_line(text: str) -> str:
    r"""Return a message that is one line, without control characters, and no book.

    Examples
    --------
    >>> one_line("a.kml: not\nwell-formed")
    'a.kml: not well-formed'
    """
    if not text.isprintable():
        shown_as = (c if c.isprintable() or c.isspace() else "�" for c in text)
        text = " ".join("".join(shown_as).split())
    if len(text) > MOST_LETTERS:  # what to do stands at the end
        text = f"{text[: MOST_LETTERS // 2]} … {text[-MOST_LETTERS // 4 :]}"
    return text


class InputError(TmpError, ValueError):
    """Something the user gave cannot be used."""


class NotASurveyError(InputError):
    """A folder was expected to be a survey and is not."""


class VersionError(InputError):
    """A file was written by a newer version of the platform."""


class PhotographError(InputError):
    """One photograph cannot be read or used."""


class OrientationError(TmpError, RuntimeError):
    """The photographs cannot be oriented."""


class SpaceError(TmpError, OSError):
    """There is not enough disk space for what comes next."""


class DeviceError(TmpError, RuntimeError):
    """The requested device cannot be used."""


class ExecutionError(TmpError, RuntimeError):
    """A process or a cluster's job that was to do the work has failed."""


class TransientError(ExecutionError):
    """Work failed for a reason that may have gone by when it is run again."""


class StoppedError(ExecutionError):
    """Somebody asked a run to stop."""


def require_range(
    entry: object,
    *names: str,
    above: float = -math.inf,
    least: float = -LARGEST,
    most: float = LARGEST,
    or_nan: bool = False,
) -> None:
    """Raise `InputError` unless fields are finite numbers in a range, or None.

    NaN passes only where it says that a figure is not known.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> require_range(SimpleNamespace(speed_m_s=-3.0), "speed_m_s", above=0, most=100)
    Traceback (most recent call last):
    tmp.errors.InputError: speed_m_s = -3.0; give a number above 0 and at most 100
    """
    for name in names:
        value = getattr(entry, name)
        if value is None or (or_nan and math.isnan(value)):
            continue
        if not (value >= above + SMALLEST and least <= value <= most):
            low = f"above {above:.12g} and" if math.isfinite(above) else f"from {least:.12g} to"
            high = f"at most {most:.12g}" if math.isfinite(above) else f"{most:.12g}"
            raise InputError(f"{name} = {shown(value)}; give a number {low} {high}")


def shown(value: object) -> str:
    """Return a value as a message shows it: in one line, and not a book of it."""
    try:
        said = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        said = f"a {type(value).__name__} too long to show"
    return said if len(said) <= 80 else f"{said[:60]} …"
