"""XML and zip as mission files use them: built by hand, and looked through."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element, SubElement, indent, tostring

KML = "http://www.opengis.net/kml/2.2"

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Tree = str | Mapping[str, "Tree"] | list[Mapping[str, "Tree"]]
"""What an element holds."""
_OLDEST = (1980, 1, 1, 0, 0, 0)


def add(parent: Element, tag: str, text: str | None = None, **attributes: str) -> Element:
    """Append a child with text; characters that XML cannot hold become U+FFFD."""
    child = SubElement(parent, tag, {key: clean(value) for key, value in attributes.items()})
    if text is not None:
        child.text = clean(text)
    return child


def add_all(parent: Element, content: Mapping[str, Tree]) -> None:
    """Append a child for each tag, in order: with text, with children of its own, or several."""
    for tag, found in content.items():
        for one in found if isinstance(found, list) else [found]:
            if isinstance(one, str):
                add(parent, tag, one)
            else:
                add_all(add(parent, tag), one)


def clean(text: str) -> str:
    """Return text without what XML cannot hold."""
    return _NOT_XML.sub("�", text)


def document(root: Element) -> bytes:
    """Return an indented UTF-8 document."""
    indent(root)
    declaration = b'<?xml version="1.0" encoding="UTF-8"?>\n'
    body: bytes = tostring(root, encoding="utf-8")
    return declaration + body + b"\n"


def local_name(element: Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def children(element: Element, name: str) -> list[Element]:
    """Return the children of a name, in any namespace."""
    return [child for child in element if local_name(child) == name]


def child(element: Element, *names: str) -> Element | None:
    """Return the first child down a path of names, in any namespace."""
    found: Element | None = element
    for name in names:
        if found is None:
            return None
        found = next(iter(children(found, name)), None)
    return found


def text(element: Element, *names: str) -> str | None:
    """Return the text of a child down a path of names; None if there is none."""
    found = child(element, *names)
    return found.text.strip() if found is not None and found.text else None


def descendants(element: Element, *names: str) -> Iterator[Element]:
    """Yield the elements of some names below an element, in document order."""
    for found in element.iter():
        if local_name(found) in names:
            yield found


def zipped(members: Mapping[str, bytes]) -> bytes:
    """Return a zip archive that is the same bytes whenever and wherever it is made."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=_OLDEST)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return target.getvalue()
