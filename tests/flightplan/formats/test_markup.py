"""Archives and documents from anywhere are read with suspicion."""

import re
import zipfile
import zlib
from io import BytesIO

import pytest

from flightplan.formats.markup import clean, zipped
from tmp.errors import InputError
from tmp.geo import vectors
from tmp.geo.vectors import unzipped

ROUTES = re.compile(r"\.wpml$")


def test_archives_are_the_same_bytes_and_hold_a_fixed_date():
    members = {"wpmz/a.wpml": b"abc"}
    assert zipped(members) == zipped(members)
    with zipfile.ZipFile(BytesIO(zipped(members))) as archive:
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_only_wanted_members_are_unpacked_and_never_to_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = zipped({"../../evil.wpml": b"a", "other.bin": b"b"})
    assert unzipped(content, ROUTES) == {"../../evil.wpml": b"a"}
    assert list(tmp_path.iterdir()) == []


def test_a_zip_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(vectors, "MOST_BYTES", 2**20)
    with pytest.raises(InputError, match="unpacks to more than 1 MB"):
        unzipped(zipped({"a.wpml": bytes(2**21)}), ROUTES)


def test_two_members_may_not_share_the_room_twice(monkeypatch):
    monkeypatch.setattr(vectors, "MOST_BYTES", 2**20)
    half = bytes(2**20 - 2**18)
    with pytest.raises(InputError, match="unpacks to more"):
        unzipped(zipped({"a.wpml": half, "b.wpml": half}), ROUTES)


def test_a_damaged_member_is_refused():
    content = bytearray(zipped({"a.wpml": bytes(range(256)) * 40}))
    content[60] ^= 0xFF
    with pytest.raises(InputError, match="broken"):
        unzipped(bytes(content), ROUTES)
    assert issubclass(zlib.error, Exception)


def test_what_xml_cannot_hold_is_replaced():
    assert clean("a\x00b\ud800c") == "a�b�c"
