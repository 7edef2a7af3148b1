"""Errors a user can meet; each is also the builtin it resembles.

A message is one line, lower case, and says where, what, which value, and what to do:
``f"{path}: focal length missing; add {model!r} to survey.toml"``.
"""


class TmpError(Exception):
    """Root of all platform errors."""


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
