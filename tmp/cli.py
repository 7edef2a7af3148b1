"""The ``tmp`` command: a thin group whose sub-commands come from entry points."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import platform
import re
import sys
import tempfile
import traceback
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any

import click

from tmp.doctor import remedy_for
from tmp.errors import TmpError
from tmp.threads import ended_by_signals, share_one_heap, stay_offline

log = logging.getLogger(__name__)

GROUP = "tmp.commands"
PACKAGE = "terrestrial-mapping-platform"
_NO_MEMORY = re.compile(
    r"bad_alloc|insufficient memory|cannot allocate memory|unable to allocate"
    r"|failed to map segment|can't start new thread",
    re.IGNORECASE,
)
"""What libraries say when there is no memory, whatever error they say it with."""
_OF_THE_MACHINE = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EIO", "EMFILE", "ENFILE"),
        *("ENAMETOOLONG", "ENXIO", "ENODEV", "ESTALE", "ETIMEDOUT", "ENOTCONN", "EHOSTDOWN"),
    )
    if hasattr(errno, name)
)
"""Errors of disks and permissions that can meet any line of code, and are no mistake in it."""
INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended, `tmp cancel`, or the system."""


class PluginGroup(click.Group):
    """A group that finds its commands in the entry points of `GROUP`.

    A plug-in that fails to import is listed with its reason and never takes the others down.
    A `TmpError` becomes one line on stderr and exit status 1; so does a library that does not
    load, with the line that mends it. Called by the shell, it has a line for every other error
    too; programs, which call it with arguments, and tests meet the error itself. Whatever tells a
    command to end does so as Ctrl-C does, in one line, once what it was at has been put in order.
    """

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run as the shell's command: an error that nobody foresaw ends in one line as well."""
        if args or options:  # a program's call, not the shell's
            return super().__call__(*args, **options)
        try:
            return super().__call__()
        except Exception as error:
            log.info("what went wrong", exc_info=error)
            click.echo(f"Error: {_one_line(say_unforeseen(error))}", err=True)
            sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return own and contributed command names."""
        return sorted({*super().list_commands(ctx), *entry_points(group=GROUP).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command called `cmd_name`, importing it only now."""
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        for point in entry_points(group=GROUP, name=cmd_name):
            return _load(point)
        return None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command, turning platform errors into messages."""
        try:
            with ended_by_signals():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):  # a terminal that has gone
                click.echo("interrupted; run the same command again to go on", err=True)
            sys.exit(INTERRUPTED)
        except TmpError as error:
            raise click.ClickException(_one_line(str(error))) from error
        except ImportError as error:
            if not (remedy := remedy_for(error)):
                raise
            raise click.ClickException(_one_line(f"{error}; {remedy}")) from error


def _one_line(text: str) -> str:
    """Return a message in one line, whatever a name or a library has put into it."""
    if text.isprintable():
        return text
    return " ".join("".join(c if c.isprintable() or c.isspace() else "�" for c in text).split())


def say_unforeseen(error: Exception) -> str:
    """Say in a line what went wrong that nobody foresaw, and what to do.

    Want of memory, and what a disk does, is the machine's. All else is a mistake in the platform,
    and the traceback goes into a file for those who mend it.
    """
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return (
            f"not enough memory ({str(error) or type(error).__name__}); close other programs, use "
            "fewer --workers or --quality fast, or raise the limit on this shell's memory"
        )
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; make sure that the disk is there and can be written"
    try:
        sent = f"please send {_write_crash(error)} to those who look after the platform"
    except OSError:  # the temporary folder cannot be written either
        sent = "run again with 'tmp -v' and send what it prints to those who look after it"
    return f"a mistake in the platform ({type(error).__name__}: {str(error)[:200]}); {sent}"


def _write_crash(error: Exception) -> Path:
    """Write what it takes to find a mistake, into the survey's ``work/logs`` or a temporary file.

    Raises OSError if neither can be written.
    """
    surveys = (Path(word) for word in sys.argv[1:] if Path(word, "survey.toml").is_file())
    logs = next((survey / "work" / "logs" for survey in surveys), None)
    head = (
        f"{PACKAGE} {version(PACKAGE)}, Python {platform.python_version()}, {platform.platform()}"
    )
    lines = (head, repr(sys.argv), "".join(traceback.format_exception(error)))
    for folder in filter(None, (logs, Path(tempfile.gettempdir()))):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            file, name = tempfile.mkstemp(prefix="crash-", suffix=".txt", dir=folder)
            os.close(file)
            Path(name).write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")
            return Path(name)
    raise OSError("no folder for the crash file")


def _load(point: EntryPoint) -> click.Command:
    try:
        command: click.Command = point.load()
    except Exception as error:  # a broken plug-in must not break the group
        remedy = remedy_for(error) if isinstance(error, ImportError) else ""
        reason = "; ".join(filter(None, (f"{type(error).__name__}: {error}", remedy)))
        return _Unavailable(point.name, reason=reason)
    return command


class _Unavailable(click.Command):
    """Stand-in for a command whose module did not import."""

    def __init__(self, name: str, reason: str) -> None:
        self.reason = f"not available: {reason}"
        super().__init__(name, short_help=f"({self.reason})")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        raise click.ClickException(f"{self.name!r} is {self.reason}")


def split_names(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names of an option that may be repeated and hold several."""
    del context, parameter
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


@click.group(cls=PluginGroup)
@click.option("-v", "--verbose", count=True, help="Log more (repeatable).")
@click.option("-q", "--quiet", count=True, help="Log less (repeatable).")
@click.version_option(package_name=PACKAGE, message="%(version)s")
def main(verbose: int, quiet: int) -> None:
    """Plan drone surveys and turn their photographs into maps."""
    share_one_heap()
    stay_offline()
    level = max(logging.DEBUG, logging.WARNING - 10 * (verbose - quiet))
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)  # a package may log more, for others than the terminal
