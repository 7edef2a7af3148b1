"""The ``tmp`` command: a thin group whose sub-commands come from entry points.

Each command that works on a survey keeps a log in the survey's ``work/logs``: versions, the
command's words, every line from INFO on, and the traceback of what ended it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import platform
import re
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points, version
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import click

from tmp.doctor import remedy_for
from tmp.errors import TmpError, one_line
from tmp.files import nearest, shared_with_group
from tmp.threads import ended_by_signals, share_one_heap, stay_offline

log = logging.getLogger(__name__)

GROUP = "tmp.commands"
PACKAGE = "terrestrial-mapping-platform"
OURS = ("tmp", "flightplan", "ingest", "photogrammetry", "flows")
"""Packages whose lines a log keeps from INFO on; those of others from WARNING on."""
KEPT_LOGS = 20
"""Log files kept in a survey."""
LOGS = Path("work", "logs")

SURVEY_OPTIONS = ("survey", "root", "folder")
"""Names of the parameter that says which survey a command works on."""
WITHOUT_LOG = frozenset({"status", "logs", "cancel"})
"""Commands that only look at others."""
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
            click.echo(f"Error: {one_line(say_unforeseen(error))}", err=True)
            sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return own and contributed command names."""
        return sorted({*super().list_commands(ctx), *entry_points(group=GROUP).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command called `cmd_name`, importing it only now."""
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        for point in entry_points(group=GROUP, name=cmd_name):
            return _completed(_load(point))
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for; of one that is not there, the likeliest meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            ctx.fail(f"No such command {args[0]!r}{nearest(args[0], self.list_commands(ctx))}")

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
            raise click.ClickException(one_line(str(error))) from error
        except ImportError as error:
            if not (remedy := remedy_for(error)):
                raise
            raise click.ClickException(one_line(f"{error}; {remedy}")) from error


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


def _completed(command: click.Command) -> click.Command:
    """Give a command, and those below it, what all have: ``-v`` and ``-q``, and a log file."""
    taken = {word for param in command.params for word in param.opts}
    for option in (_VERBOSE, _QUIET):
        if not taken.intersection(option.opts):
            command.params.append(option)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _completed(below)
    if command.callback is not None and not hasattr(command.callback, "__logged__"):
        command.callback = _logged(command.callback)
    return command


def _logged(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Have a command keep a log in the survey it works on, if it works on one."""

    @functools.wraps(callback)
    def run(*args: Any, **options: Any) -> Any:
        context = click.get_current_context()
        name = str(context.info_name)
        survey = next((options[key] for key in SURVEY_OPTIONS if options.get(key)), None)
        if survey is None or name in WITHOUT_LOG or options.get("dry_run"):
            return callback(*args, **options)
        with logged(Path(survey), name):
            return callback(*args, **options)

    run.__logged__ = True  # type: ignore[attr-defined]
    return run


@contextlib.contextmanager
def logged(survey: Path, command: str) -> Iterator[None]:
    """Keep what the block logs in a file of a survey; where none can be written, in none.

    Of an error the traceback is kept, and it is raised again.
    """
    handler = logging.StreamHandler(_open(survey, command) or StringIO())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.INFO)
    handler.addFilter(_is_kept)
    handler.stream.write(_head())
    root = logging.getLogger()
    before, began_s, ended = root.level, time.monotonic(), "done"
    root.addHandler(handler)
    root.setLevel(min(before, logging.INFO))
    try:
        yield
    except SystemExit as exit_:
        ended = f"exit status {exit_.code or 0}"
        raise
    except BaseException as error:
        ended = f"{type(error).__name__}: {error}"
        handler.stream.write("".join(traceback.format_exception(error)))
        raise
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        with contextlib.suppress(OSError):  # a full disk ends no command that is done
            handler.stream.write(f"{ended}, after {time.monotonic() - began_s:.1f} s\n")
            _close(handler.stream, survey, command)


def command_logs(survey: Path) -> list[Path]:
    """Return the log files of a survey's commands, the latest last."""
    return sorted((survey / LOGS).glob("*Z-*.log"))


def command_of(path: Path) -> str:
    """Return the command that a log file is of.

    Examples
    --------
    >>> command_of(Path("20260703T091200.123456Z-map-1234.log"))
    'map'
    """
    return path.stem.partition("Z-")[2].rpartition("-")[0]


def _open(survey: Path, command: str) -> StringIO | None:
    """Open a new log file; None where the survey is not there yet, or cannot be written."""
    if not (survey / "survey.toml").is_file():
        return None
    folder = survey / LOGS
    now = datetime.now(UTC)
    name = f"{now:%Y%m%dT%H%M%S.%f}Z-{command}-{os.getpid()}.log"
    try:
        with shared_with_group(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for path in command_logs(survey)[: 1 - KEPT_LOGS]:
                path.unlink(missing_ok=True)
            # Only a new file: what lies there, or a link that somebody has laid, is not written to.
            return (folder / name).open("x", encoding="utf-8", errors="backslashreplace")  # type: ignore[return-value]
    except OSError as error:
        log.info("%s: no log file can be written (%s)", folder, error.strerror)
        return None


def _close(stream: StringIO, survey: Path, command: str) -> None:
    """Close a log; one that was kept in memory is written, if the survey is there by now."""
    if isinstance(stream, StringIO):
        if (file := _open(survey, command)) is None:
            return
        file.write(stream.getvalue())
        stream = file
    stream.close()


def _is_kept(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in OURS


def _head() -> str:
    words = shlex.join(["tmp", *sys.argv[1:]])
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC  {words}\n"
        f"{PACKAGE} {version(PACKAGE)}, Python {platform.python_version()}, "
        f"{platform.platform()}, in {Path.cwd()}\n"
    )


def _change_level(context: click.Context, parameter: click.Parameter, times: int) -> None:
    """Log more or less on the terminal, whether asked before or after the command's name."""
    if times and not context.resilient_parsing:
        meta = context.find_root().meta
        meta[parameter.name] = meta.get(parameter.name, 0) + times
        _set_level(meta.get("verbose", 0) - meta.get("quiet", 0))


def _set_level(more: int) -> None:
    level = max(logging.DEBUG, logging.WARNING - 10 * more)
    root = logging.getLogger()
    root.setLevel(level)
    for handler in root.handlers:
        handler.setLevel(level)  # a package may log more, for others than the terminal


_VERBOSE = click.Option(
    ["-v", "--verbose"],
    count=True,
    expose_value=False,
    callback=_change_level,
    help="Log more (repeatable).",
)
_QUIET = click.Option(
    ["-q", "--quiet"],
    count=True,
    expose_value=False,
    callback=_change_level,
    help="Log less (repeatable).",
)


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


@click.group(cls=PluginGroup, params=[_VERBOSE, _QUIET])
@click.version_option(package_name=PACKAGE, message="%(version)s")
def main() -> None:
    """Plan drone surveys and turn their photographs into maps.

    -v and -q may stand after the command's name, too: tmp map -v SURVEY.
    """
    share_one_heap()
    stay_offline()
    for stream in (sys.stdout, sys.stderr):  # Windows' own encodings have no σ
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    meta = click.get_current_context().meta
    _set_level(meta.get("verbose", 0) - meta.get("quiet", 0))
