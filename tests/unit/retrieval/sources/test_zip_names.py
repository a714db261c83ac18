from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from retrieval.sources import FileMissingError, open_source
from retrieval.sources.zip_names import UNICODE_PATH, ZipEncodingError, guess_encoding


class Stored(zipfile.ZipInfo):
    """A member whose name is stored in an encoding, without a flag that says so."""

    encoding = "cp437"

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802  # zipfile's own
        return self.filename.encode(self.encoding), self.flag_bits & ~0x800


def pack(path: Path, names: Sequence[str], encoding: str, extra: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            member = Stored(name)
            member.encoding = encoding
            member.extra = extra
            archive.writestr(member, name.encode())
    return path


def listed(path: Path, encoding: str | None = None) -> list[str]:
    source = open_source(path, encoding)
    files = [entry.file for entry in source.entries]
    assert [source.read(file).decode() for file in files] == files  # each member's content is its name
    source.close()
    return files


NAMES = {
    "gbk": ["息肉/0.jpg", "正常盲肠/1.jpg", "溃疡性结肠炎/2.jpg"],
    "big5": ["息肉/0.jpg", "正常盲腸/1.jpg", "潰瘍性結腸炎/2.jpg"],
    "cp932": ["ポリープ/0.jpg", "潰瘍性大腸炎/1.jpg", "表示/2.jpg"],  # 表 has a backslash for its second byte
    "cp949": ["용종/0.jpg", "궤양성대장염/1.jpg", "정상맹장/2.jpg"],
    "cp866": ["полипы/0.jpg", "язвенный колит/1.jpg"],
    "cp1251": ["полипы/0.jpg", "язвенный колит/1.jpg"],
    "cp850": ["Ösophagitis/0.jpg", "colite ulcéreuse sévère/1.jpg", "Bøvs/2.jpg"],
    "cp1252": ["Ösophagitis/0.jpg", "Œsophagite sévère/1.jpg"],
    "cp852": ["żołądek/0.jpg", "wrzodziejące/1.jpg"],
    "utf-8": ["息肉/0.jpg", "Œsophagite sévère/1.jpg"],
}


@pytest.mark.parametrize("encoding", NAMES)
def test_names_of_an_unstated_encoding_are_guessed_and_the_guess_is_told(tmp_path: Path, encoding: str) -> None:
    path = pack(tmp_path / "d.zip", NAMES[encoding], encoding)
    assert listed(path) == sorted(NAMES[encoding])
    notes = open_source(path).notes
    if encoding == "utf-8":  # macOS leaves the flag out; bytes are hardly ever UTF-8 by chance
        assert notes == ()
    else:
        (note,) = notes
        assert f"guessed {encoding}, such as '{NAMES[encoding][0]}'" in note
        assert "--zip-encoding" in note


@pytest.mark.parametrize("encoding", NAMES)
def test_an_encoding_that_is_given_is_taken_without_a_word(tmp_path: Path, encoding: str) -> None:
    path = pack(tmp_path / "d.zip", NAMES[encoding], encoding)
    assert listed(path, encoding) == sorted(NAMES[encoding])
    assert open_source(path, encoding).notes == ()


def test_names_in_ascii_and_names_with_the_flag_are_no_guess(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("polyps/0.jpg", "polyps/0.jpg")
        archive.writestr("息肉/1.jpg", "息肉/1.jpg")  # zipfile sets the flag
    assert listed(tmp_path / "d.zip") == listed(tmp_path / "d.zip", "cp932") == ["polyps/0.jpg", "息肉/1.jpg"]
    assert open_source(tmp_path / "d.zip").notes == ()


def unicode_path(stored: bytes, name: str, version: int = 1) -> bytes:
    data = struct.pack("<BI", version, zlib.crc32(stored)) + name.encode()
    return struct.pack("<HH", UNICODE_PATH, len(data)) + data


def test_the_extra_field_of_the_unicode_path_states_a_name(tmp_path: Path) -> None:
    other = struct.pack("<HHI", 0x5455, 4, 0)  # a time stamp before it
    extra = other + unicode_path(b"_____/0.jpg", "ポリープ/0.jpg")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        member = Stored("_____/0.jpg")
        member.extra = extra
        archive.writestr(member, "ポリープ/0.jpg")
    assert listed(tmp_path / "d.zip") == ["ポリープ/0.jpg"]
    assert open_source(tmp_path / "d.zip").notes == ()


@pytest.mark.parametrize(
    "extra",
    [
        unicode_path(b"an older name", "renamed.jpg"),
        unicode_path(b"a.jpg", "renamed.jpg", version=2),
        struct.pack("<HH", UNICODE_PATH, 5) + struct.pack("<BI", 1, zlib.crc32(b"a.jpg")),
    ],
)
def test_an_extra_field_that_does_not_fit_the_name_is_passed_over(tmp_path: Path, extra: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        member = Stored("a.jpg")
        member.extra = extra
        archive.writestr(member, "a.jpg")
    assert listed(tmp_path / "d.zip") == ["a.jpg"]


@pytest.mark.parametrize("given", ["koi8-r", "mac_roman", "cp437"])
def test_a_member_is_found_by_the_name_that_it_had_under_another_encoding(tmp_path: Path, given: str) -> None:
    path = pack(tmp_path / "d.zip", NAMES["gbk"], "gbk")
    names = [name.encode("gbk").decode(given) for name in NAMES["gbk"]]
    source = open_source(path)  # which guesses GBK
    assert [source.read(name).decode() for name in names] == NAMES["gbk"]
    with pytest.raises(FileMissingError):
        source.read("息肉/1.jpg")


def test_an_encoding_that_is_unknown_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.zip", NAMES["gbk"], "gbk")
    for encoding in ("klingon", "base64", "rot13", ""):
        with pytest.raises(ZipEncodingError, match="there is no encoding"):
            open_source(path, encoding)
    with pytest.raises(ZipEncodingError, match=r"d\.zip: the name .* is not in utf-8"):
        open_source(path, "utf-8")


def test_bytes_that_are_no_text_are_read_as_the_format_says_and_told_as_unsure() -> None:
    assert guess_encoding([bytes(range(0xB0, 0xE0)) + b"\xff.jpg"]) == ("cp437", False)
    assert guess_encoding([]) == ("cp437", True)
