"""Formats that are common and not decoded: recognised by name or first bytes, each with a remedy.

HEIC is decoded where pillow-heif is installed, the extra `heif`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from posixpath import splitext

_CONVERT = "convert them to JPEG or PNG"


@dataclass(frozen=True)
class UndecodedFormat:
    """A kind of file that holds pictures and is not read as such.

    noun: one file, with its article. remedy: what to do, for several. endings: lower-case, with the dot.
    """

    noun: str
    remedy: str
    endings: tuple[str, ...]

    def counted(self, number: int) -> str:
        """So many files of it, in words."""
        if number == 1:
            return self.noun
        first, *rest = self.noun.split(" ", 1)[1].rsplit(" of ", 1)
        return f"{number:,} {first}s" + "".join(f" of {other}" for other in rest)

    def advised(self, number: int = 1) -> str:
        """What to do about so many files."""
        return self.remedy if number > 1 else self.remedy.replace("them", "it").replace("their", "its")


HEIC = UndecodedFormat(
    "a HEIC file",
    f"{_CONVERT}, or install pillow-heif (pip install 'kvasir-retrieval[heif]')",
    (".heic", ".heif", ".heics", ".heifs", ".hif"),
)
AVIF = UndecodedFormat("an AVIF file", _CONVERT, (".avif", ".avifs"))
GIF = UndecodedFormat("a GIF file", _CONVERT, (".gif",))
JPEG_2000 = UndecodedFormat("a JPEG 2000 file", _CONVERT, (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"))
JPEG_XL = UndecodedFormat("a JPEG XL file", _CONVERT, (".jxl",))
RAW = UndecodedFormat("a camera raw file", _CONVERT, (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"))
OTHER = UndecodedFormat(
    "a picture of another format", _CONVERT, (".psd", ".svg", ".ppm", ".pgm", ".pnm", ".tga", ".ico")
)
DICOM = UndecodedFormat("a DICOM file", "export their frames as PNG", (".dcm", ".dicom", ".ima"))
VIDEO = UndecodedFormat(
    "a video",
    "take frames out of them (ffmpeg -i VIDEO -vf fps=1 FOLDER/%06d.png)",
    (".mp4", ".avi", ".mov", ".mkv", ".wmv", ".mpg", ".mpeg", ".m4v", ".webm", ".mts", ".flv"),
)
ARCHIVE = UndecodedFormat(
    "an archive",
    "unpack them and give their folder",
    (".tar", ".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".tzst", ".7z", ".rar", ".lzh", ".z01"),
)
ARRAY = UndecodedFormat(
    "a file of arrays",
    "save each picture as PNG",
    (".npy", ".npz", ".h5", ".hdf5", ".mat", ".pkl", ".parquet", ".tfrecord"),
)
PDF = UndecodedFormat("a PDF file", "save their pictures as PNG", (".pdf",))
PICTURE_FORMATS = (HEIC, AVIF, GIF, JPEG_2000, JPEG_XL, RAW, OTHER, DICOM)
"""Those of which each file is one picture, or a few."""
UNDECODED = (HEIC, AVIF, GIF, JPEG_2000, JPEG_XL, RAW, OTHER, DICOM, VIDEO, ARCHIVE, ARRAY, PDF)

_BY_ENDING = {ending: kind for kind in UNDECODED for ending in kind.endings}
_BRANDS = {HEIC: (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevx", b"mif1", b"msf1"), AVIF: (b"avif", b"avis")}
"""Brands in the first box of files that share one container format (ISO/IEC 23008-12, AV1 Image File Format)."""
_MAGIC = (
    (b"GIF8", GIF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
    (b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (b"\xff\x0a", JPEG_XL),
    (b"8BPS", OTHER),
    (b"\x1f\x8b", ARCHIVE),
    (b"BZh", ARCHIVE),
    (b"\xfd7zXZ\0", ARCHIVE),
    (b"(\xb5/\xfd", ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (b"Rar!", ARCHIVE),
    (b"\x1aE\xdf\xa3", VIDEO),
    (b"%PDF", PDF),
    (b"\x93NUMPY", ARRAY),
    (b"\x89HDF", ARRAY),
)

HEAD_BYTES = 265
"""How much of a file `format_of_content` looks at: to the mark of a tar archive."""


def format_of_name(file: str) -> UndecodedFormat | None:
    """The format that a file's ending names, or None."""
    return _BY_ENDING.get(splitext(file)[1].lower())


def format_of_content(head: bytes) -> UndecodedFormat | None:
    """The format that a file begins as, or None where it is none of these."""
    if head[4:8] == b"ftyp":
        for kind, brands in _BRANDS.items():
            if head[8:12] in brands:
                return kind
        return VIDEO
    if head[128:132] == b"DICM":
        return DICOM
    if head[257:262] == b"ustar":
        return ARCHIVE
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return VIDEO
    return next((kind for start, kind in _MAGIC if head.startswith(start)), None)


def decodes_heic() -> bool:
    """Whether pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


def register_heic() -> None:
    """Teach Pillow the format HEIF; only where `decodes_heic`."""
    from pillow_heif import register_heif_opener

    register_heif_opener()
