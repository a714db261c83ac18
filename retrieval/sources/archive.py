"""The members of a zip, read in place by several threads at once."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import Counter, defaultdict
from pathlib import Path
from posixpath import normpath
from typing import Literal

from retrieval.errors import SourceError
from retrieval.formats import HEAD_BYTES, format_of_content, format_of_name
from retrieval.sources.source import (
    MAX_BYTES,
    Entry,
    FileMissingError,
    FileUnreadableError,
    NotASourceError,
    metadata_reason,
    storable,
)
from retrieval.sources.zip_names import UTF8_FLAG, decode_names, encoded_forms, raw_name

ENCRYPTED = 0x1
"""Bit of a member's flags (APPNOTE.TXT 4.4.4)."""

LOCAL_HEADER = 30
"""Bytes of a local file header before the name (APPNOTE.TXT 4.3.7)."""


class DamagedZipError(SourceError):
    """A zip has no readable table of contents: cut off, or changed."""


class EncryptedZipError(SourceError):
    """A zip asks for a password."""


class Archive:
    """A zip as a source of files.

    Stored and deflated members are read by `pread`, which needs no lock; zipfile reads the rarer kinds.
    """

    kind: Literal["zip"] = "zip"

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path = path
        self._zip = _open(path)
        try:
            names = decode_names(self._zip.infolist(), encoding)
        except SourceError as error:
            self._zip.close()
            raise type(error)(f"{path}: {error}") from None
        self.notes = () if names.note is None else (names.note,)
        assert self._zip.fp is not None
        self._descriptor = self._zip.fp.fileno()
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.ignored: Counter[str] = Counter()
        self._unstated: defaultdict[bytes, list[zipfile.ZipInfo]] = defaultdict(list)
        for member, name in zip(self._zip.infolist(), names.names, strict=True):
            if member.is_dir():
                continue
            name = name.replace("\\", "/")  # as some archivers of Windows write
            file = normpath(name)
            if not member.flag_bits & UTF8_FLAG and not file.isascii():
                self._unstated[_key(raw_name(member))].append(member)
            if reason := _unusable(name) or metadata_reason(file):
                self.ignored[reason] += 1
                continue
            if member.flag_bits & ENCRYPTED:
                self.close()
                raise EncryptedZipError(f"{path}: asks for a password; unpack it and give the folder")
            if file in self._members:
                self.ignored["members that a later one of the same name replaces"] += 1
            self._members[file] = member
        self.entries = sorted(Entry(file, member.file_size, member.CRC) for file, member in self._members.items())

    def entry(self, file: str) -> Entry:
        """One member's size and stamp."""
        member = self._member(file)
        return Entry(file, member.file_size, member.CRC)

    def read(self, file: str) -> bytes:
        """The content of a member, its CRC checked."""
        return self._content(file, MAX_BYTES)

    def head(self, file: str, size: int) -> bytes:
        """The first `size` bytes of a member."""
        return self._content(file, size)

    def close(self) -> None:
        """Close the zip; its members cannot be read any more."""
        self._zip.close()
        self._descriptor = -1

    def _member(self, file: str) -> zipfile.ZipInfo:
        """The member of this name, or of the same stored name under another encoding.

        The zip may have been indexed with an encoding that was given, or guessed otherwise by an earlier version.
        """
        if member := self._members.get(file):
            return member
        for stored, encoding in encoded_forms(file) if self._unstated and not file.isascii() else ():
            for member in self._unstated.get(_key(stored), ()):
                try:
                    name = raw_name(member).decode(encoding)
                except UnicodeDecodeError:
                    continue
                if normpath(name.replace("\\", "/")) == file:
                    return member
        raise FileMissingError(f"{file}: not in {self.path.name}")

    def _content(self, file: str, size: int) -> bytes:
        member = self._member(file)
        if max(member.file_size, member.compress_size) > MAX_BYTES:
            raise FileUnreadableError(f"{file}: {member.file_size} bytes, more than the {MAX_BYTES} that are read")
        whole = size >= member.file_size
        try:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                with self._zip.open(member) as stream:
                    return stream.read(size)
            header = os.pread(self._descriptor, LOCAL_HEADER, member.header_offset)
            start = member.header_offset + LOCAL_HEADER
            start += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            # a deflated byte takes no more than itself and 5 bytes a block, so this many hold the head
            packed = os.pread(
                self._descriptor,
                member.compress_size if whole else min(member.compress_size, size + 4096),
                start,
            )
            data = packed
            if member.compress_type == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, min(size, member.file_size) + 1)
        except (
            OSError,
            zlib.error,
            zipfile.BadZipFile,
            NotImplementedError,
            RuntimeError,
            EOFError,
        ) as error:
            raise FileUnreadableError(f"{file}: cannot be read from {self.path.name}: {error}") from error
        if whole and (len(data) != member.file_size or zlib.crc32(data) != member.CRC):
            raise FileUnreadableError(f"{file}: damaged inside {self.path.name} (its CRC-32 differs)")
        return data[:size]


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        if not head.startswith(b"PK"):
            kind = format_of_content(head) or format_of_name(path.name)
            advice = f"; it is {kind.noun}: {kind.advised()}" if kind else ""
            raise NotASourceError(f"{path}: neither a folder nor a zip{advice}") from error
        raise DamagedZipError(f"{path}: damaged or cut off ({error}); fetch it again") from error


def _key(stored: bytes) -> bytes:
    """A stored name without the bytes that making it a plain path may change."""
    return stored.translate(None, b"./\\")


def _unusable(name: str) -> str | None:
    if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
        return "names that point outside the zip"
    return None if storable(name) else "names that are not UTF-8"
