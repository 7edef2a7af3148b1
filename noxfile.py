"""The commands of everyday: ``nox -s lint``, ``test``, ``docs``, ``bench``, in your environment.

What follows ``--`` is handed on: ``nox -s test -- tests/tmp -k survey``.
"""

from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "test"]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, and who imports whom; changes nothing."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def test(session: nox.Session) -> None:
    """Run tests and the examples of docstrings; without words those that are quick."""
    session.run("pytest", "-q", *(session.posargs or ["-m", "not slow and not real and not slurm"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site, into site/; a warning is an error."""
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-j", "auto", "docs", "site")
    session.log("open site/index.html")


@nox.session
def bench(session: nox.Session) -> None:
    """Run a benchmark, as ``nox -s bench -- indices``; without words, list them."""
    folder = Path("benchmarks")
    if session.posargs:
        session.run("python", folder / f"{session.posargs[0]}.py", *session.posargs[1:])
    else:
        session.log(" ".join(sorted(path.stem for path in folder.glob("*.py"))))
