"""The ``tmp`` command: a thin group whose sub-commands come from entry points."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from tmp.doctor import remedy_for
from tmp.errors import TmpError
from tmp.threads import share_one_heap

GROUP = "tmp.commands"


INTERRUPTED = 130
"""Exit status of a shell command that Ctrl-C ended."""


class PluginGroup(click.Group):
    """A group that finds its commands in the entry points of `GROUP`.

    A plug-in that fails to import is listed with its reason and never takes the others down.
    A `TmpError` becomes one line on stderr and exit status 1; so does a library that does not
    load, with the line that mends it.
    """

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
            return super().invoke(ctx)
        except TmpError as error:
            raise click.ClickException(str(error)) from error
        except ImportError as error:
            if not (remedy := remedy_for(error)):
                raise
            raise click.ClickException(f"{error}; {remedy}") from error


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


def resumable(command: Callable[..., None]) -> Callable[..., None]:
    """Make Ctrl-C end a command in one line and exit status 130."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt:
            click.echo("interrupted; run the same command again to go on", err=True)
            sys.exit(INTERRUPTED)

    return run


def split_names(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names of an option that may be repeated and hold several."""
    del context, parameter
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


@click.group(cls=PluginGroup)
@click.option("-v", "--verbose", count=True, help="Log more (repeatable).")
@click.option("-q", "--quiet", count=True, help="Log less (repeatable).")
@click.version_option(package_name="terrestrial-mapping-platform", message="%(version)s")
def main(verbose: int, quiet: int) -> None:
    """Plan drone surveys and turn their photographs into maps."""
    share_one_heap()
    level = max(logging.DEBUG, logging.WARNING - 10 * (verbose - quiet))
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)  # a package may log more, for others than the terminal
