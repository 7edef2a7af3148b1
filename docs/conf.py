"""The site of the pages in this folder: ``sphinx-build -W docs site`` (needs the extra "docs").

It loads nothing from elsewhere, so it can be read in the field.  README, CONTRIBUTING, CHANGELOG
and the benchmarks are shown as they lie in the repository.  A page for each room of the code is
made of its modules' docstrings; what a package offers is on the pages below ``api/``.
"""

import ast
import os
import posixpath
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["NUMBA_DISABLE_JIT"] = "1"  # kernels are documented as the functions they are

import cv2  # noqa: E402, F401  before pycolmap, whose zlib would break PNG writing in it
import rasterio  # noqa: E402, F401

project = "Terrestrial Mapping Platform"
copyright = "Apache License 2.0"
version = release = installed_version("terrestrial-mapping-platform")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = project
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00695c", "color-brand-content": "#00695c"},
    "dark_css_variables": {"color-brand-primary": "#4db6ac", "color-brand-content": "#4db6ac"},
}

default_role = "py:obj"  # `name` in a docstring is a link where the name is known
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_use_type_comments = False
maximum_signature_line_length = 80
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
toc_object_entries = False  # thousands of them in the side bar of every page

SHOWN = {
    "index": "README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "benchmarks": "benchmarks/README.md",
    "results": "benchmarks/RESULTS.md",
}
"""Pages that show a file of the repository, above what they hold themselves."""
PAGE_OF = {path: page for page, path in SHOWN.items()} | {
    "benchmarks": "benchmarks",
    "examples": "python",
    "examples/README.md": "python",
}
PACKAGES = ("tmp", "flightplan", "ingest", "photogrammetry", "flows")
_LOADS = re.compile(
    r"<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)=[\"'](?:https?:)?//[^\"']*"
    r"|url\([\"']?(?:https?:)?//[^)]*|@import[^;]*//[^;]*"
)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def setup(app: Any) -> None:
    """Register what is done before pages are read."""
    app.connect("builder-inited", write_room_pages)
    app.connect("source-read", show_repository_file)
    app.connect("build-finished", refuse_loads)
    app.connect("doctree-read", look_names_up_where_they_stand)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # before napoleon's


def keep_colons(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from taking what stands before a colon in a field's sentence for its type."""
    del app, name, of, options
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment


def look_names_up_where_they_stand(app: Any, doctree: Any) -> None:
    """Look types up in their own module alone: several rooms have a name, and searching is slow."""
    from sphinx.addnodes import pending_xref

    del app
    for link in doctree.findall(pending_xref):
        link.attributes.pop("refspecific", None)


def show_repository_file(app: Any, page: str, source: list[str]) -> None:
    """Put a repository's file on its page, and point its links to pages of the site."""
    del app
    own = f"docs/{page}.md"
    if page in SHOWN:
        own = SHOWN[page]
        source[0] = (ROOT / own).read_text(encoding="utf-8") + "\n" + source[0]
    if page.startswith("rooms/"):
        return

    def rewrite(link: re.Match[str]) -> str:
        words, target, place = link[1], link[2], link[3] or ""
        if "://" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(own), target))
        if path in PAGE_OF:
            return f"[{words}]({PAGE_OF[path]}.md{place})"
        if path.startswith("docs/"):
            return f"[{words}]({path.removeprefix('docs/')}{place})"
        return words if (ROOT / path).exists() else link[0]  # a broken link: the build says so

    source[0] = _LINK.sub(rewrite, source[0]).replace("](docs/pictures/", "](pictures/")


def refuse_loads(app: Any, failure: Exception | None) -> None:
    """Warn of a page that loads something from elsewhere; links may lead there."""
    from sphinx.util import logging

    pages = [] if failure else [*Path(app.outdir).rglob("*.html"), *Path(app.outdir).rglob("*.css")]
    for page in pages:
        for found in _LOADS.findall(page.read_text(encoding="utf-8")):
            logging.getLogger(__name__).warning("%s loads %s", page, found)


def write_room_pages(app: Any) -> None:
    """Write a page for each folder with modules, and one that lists them."""
    folder = Path(app.srcdir) / "rooms"
    folder.mkdir(exist_ok=True)
    pages = {f"{room}.rst": _room_page(room) for room in _rooms()}
    pages["index.rst"] = _index_page([name.removesuffix(".rst") for name in pages])
    for stale in folder.glob("*.rst"):
        if stale.name not in pages:
            stale.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _rooms() -> list[str]:
    return [
        ".".join(folder.relative_to(ROOT).parts)
        for package in PACKAGES
        for folder in sorted({path.parent for path in (ROOT / package).rglob("*.py")})
        if any(path.name != "__init__.py" for path in folder.glob("*.py"))
    ]


def _index_page(rooms: list[str]) -> str:
    title = "All modules"
    entries = "\n".join(f"   {room}" for room in rooms)
    return f"{title}\n{'=' * len(title)}\n\n.. toctree::\n   :maxdepth: 1\n\n{entries}\n"


def _room_page(room: str) -> str:
    """Return a page of a room's modules, without what is on the pages of the API."""
    offered = _offered()
    parts = [f"{room}\n{'=' * len(room)}"]
    if room not in PACKAGES:
        parts.append(f".. automodule:: {room}\n   :no-index:")
    for path in sorted((ROOT / room.replace(".", "/")).glob("*.py")):
        if path.name in ("__init__.py", "cli.py"):
            continue
        module = f"{room}.{path.stem}"
        elsewhere = sorted(offered.get(module, ()))
        lines = [f".. automodule:: {module}", "   :members:", "   :undoc-members:"]
        if elsewhere:
            lines.append(f"   :exclude-members: {', '.join(elsewhere)}")
        parts += [f"{module}\n{'-' * len(module)}", "\n".join(lines)]
        for name in elsewhere:
            parts.append(f"`{name} <{room.partition('.')[0]}.{name}>` is part of the API.")
    return "\n\n".join(parts) + "\n"


def _offered() -> dict[str, set[str]]:
    """Return the public names by the module that they come from."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{package}."):
                found.setdefault(str(node.module), set()).update(one.name for one in node.names)
    return found
