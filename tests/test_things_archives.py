"""Archives and tables of THINGS that lie about themselves: memory, and what is taken for a table."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from test_things_fetch import Line, line, server  # noqa: F401  # two are fixtures
from things_archives import encrypted_zip

from nbtools.data.images import things_pictures
from nbtools.data.images.things_pictures import unpack_things
from nbtools.data.kinds import kind_of
from nbtools.errors import InputError

PICTURE = {"object_images/dog/dog_01b.jpg": b"dog" * 300}


@pytest.mark.parametrize("claimed", [10**6, 2**31, 2**32 - 2])
def test_an_archive_takes_no_memory_for_what_it_claims(tmp_path: Path, claimed: int) -> None:
    """Its listing says how many bytes a file has in the archive; that many were asked for at once."""
    raw = bytearray(encrypted_zip(PICTURE, deflate=False))
    struct.pack_into("<L", raw, raw.rindex(b"PK\1\2") + 20, claimed)
    (tmp_path / "images_THINGS.zip").write_bytes(raw)
    tracemalloc.start()
    with pytest.raises(InputError, match="cannot be read"):
        unpack_things(tmp_path / "images_THINGS.zip", tmp_path / "object_images")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert not (tmp_path / "object_images").exists()


def test_a_picture_that_unpacks_to_more_than_any_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(things_pictures, "_LARGEST", 10**6)
    (tmp_path / "images_THINGS.zip").write_bytes(encrypted_zip({**PICTURE, "object_images/a/a_01b.jpg": bytes(10**7)}))
    with pytest.raises(InputError, match="a file of 10000000 bytes"):
        unpack_things(tmp_path / "images_THINGS.zip", tmp_path / "object_images")


@pytest.mark.parametrize(
    "head",
    [
        b"\xef\xbb\xbf<!DOCTYPE html><html>",
        b"<!-- proxy -->\n<!-- 2 -->\n<HTML>",
        b"<meta charset='utf-8'>",
        b"\n<script>location='/login'</script>",
        b"<title>Log in</title>",
    ],
)
def test_web_pages_of_any_beginning_are_told(head: bytes) -> None:
    assert kind_of(head) == "a web page"


@pytest.mark.parametrize("content", [b'{"errors": [{"detail": "No"}]}', b"not found\n", b"category\tWord\na\tb\n"])
def test_a_table_of_categories_that_is_none_is_told_when_it_comes(
    line: Line,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:
    """It is text, as the table is: it is recorded, and what to do is to delete it."""
    line.put("images_THINGS.zip", encrypted_zip(PICTURE))
    line.put("category53_long-format.tsv", content)
    assert line.fetch("things", "--agreed") == 1
    told = capsys.readouterr().err
    assert "the categories cannot be read" in told
    assert "to do:    delete it" in told
