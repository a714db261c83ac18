from __future__ import annotations

import io
import os
import random
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from indexer.datasets import Item, open_dataset
from indexer.datasets.classes import class_names, has_picture_magic
from indexer.datasets.dataset import NoPicturesError
from indexer.datasets.labels import ClassMap
from indexer.datasets.official import HYPERKVASIR, KVASIR_CLASSES, recognise
from indexer.datasets.report import Report
from retrieval.collection import CollectionWriter
from retrieval.sources.archive import DamagedZipError, EncryptedZipError
from retrieval.sources.source import FileUnreadableError, NotASourceError, SourceNotFoundError

SHARED = Path(__file__).resolve().parents[3] / "../shared"


def picture(kind: str = "JPEG", shade: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 40, 30)).save(out, kind)
    return out.getvalue()


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def pack(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


Maker = Callable[[Path, dict[str, bytes]], Path]


@pytest.fixture(params=["folder", "zip"])
def make(request: pytest.FixtureRequest) -> Maker:
    if request.param == "folder":
        return lambda tmp, files: fill(tmp / "data", files)
    return lambda tmp, files: pack(tmp / "data.zip", files)


def test_items_are_sorted_with_class_size_and_content(tmp_path: Path, make: Maker) -> None:
    files = {
        "polyps/b.jpg": picture(shade=1),
        "polyps/a.JPG": picture(shade=2),
        "normal/c.png": picture("PNG"),
    }
    with open_dataset(make(tmp_path, files)) as dataset:
        assert [(i.file, i.class_name) for i in dataset.items] == [
            ("normal/c.png", "normal"),
            ("polyps/a.JPG", "polyps"),
            ("polyps/b.jpg", "polyps"),
        ]
        assert {i.file: dataset.read(i) for i in dataset.items} == files
        assert [i.bytes for i in dataset.items] == [len(files[i.file]) for i in dataset.items]
        assert dataset.classes == ("normal", "polyps")
        assert dataset.name == "folder of classes"
        assert dataset.report.counts == {"normal": 1, "polyps": 2}
        assert dataset.source.is_absolute()


def test_class_is_the_parent_folder_however_deep(tmp_path: Path, make: Maker) -> None:
    files = {
        "hyper-kvasir/labelled-images/lower-gi-tract/pathological-findings/polyps/a.jpg": picture(),
        "hyper-kvasir/labelled-images/upper-gi-tract/anatomical-landmarks/z-line/b.jpg": picture(),
    }
    with open_dataset(make(tmp_path, files)) as dataset:
        assert dataset.classes == ("polyps", "z-line")


@pytest.mark.parametrize("labelled", ["labeled", "labelled"])
def test_only_labelled_images_of_a_whole_hyperkvasir_are_taken(tmp_path: Path, make: Maker, labelled: str) -> None:
    files = {f"hk/{labelled}-images/x/{name}/a.jpg": picture() for name in HYPERKVASIR}
    files |= {f"hk/un{labelled}-images/images/u.jpg": picture(), "hk/segmented-images/masks/m.jpg": picture()}
    with open_dataset(make(tmp_path, files)) as dataset:
        assert dataset.name == "HyperKvasir"
        assert len(dataset.items) == 23
        assert dataset.report.ignored == {"pictures outside the folder of labelled images": 2}
        assert sum(dataset.report.missing.values()) == 10_662 - 23


def test_pictures_at_the_top_have_no_class(tmp_path: Path, make: Maker) -> None:
    with open_dataset(make(tmp_path, {"a.jpg": picture(), "b.webp": picture("WEBP")})) as dataset:
        assert [i.class_name for i in dataset.items] == [None, None]
        assert (dataset.name, dataset.classes, dataset.report.unlabelled) == ("unlabelled pictures", (), 2)


def test_a_mix_of_classes_and_pictures_without_one_is_said(tmp_path: Path, make: Maker) -> None:
    files = {"a.jpg": picture(), "polyps/b.jpg": picture(), "z-line/c.jpg": picture()}
    with open_dataset(make(tmp_path, files)) as dataset:
        assert [i.class_name for i in dataset.items] == [None, "polyps", "z-line"]
        assert dataset.report.notes == ("pictures outside the class folders, without a class: 1",)


@pytest.mark.parametrize(
    ("files", "archive", "names"),
    [
        (["x/y/polyps/a", "x/y/cecum/b"], None, ["polyps", "cecum"]),
        (["x/y/a", "x/y/cecum/b"], None, [None, "cecum"]),
        (["polyps/a", "polyps/b"], "data", ["polyps", "polyps"]),
        (["scans/a", "scans/b"], "scans", [None, None]),
        (["train/polyps/a", "test/polyps/a"], None, ["polyps", "polyps"]),
        ([], None, []),
    ],
)
def test_wrapping_folders_are_no_classes(files: list[str], archive: str | None, names: list[str | None]) -> None:
    assert class_names(files, archive) == names


def test_what_is_no_picture_is_counted_by_reason(tmp_path: Path, make: Maker) -> None:
    files = {
        "polyps/a.jpg": picture(),
        "polyps/notes.txt": b"BMI 24",
        "polyps/Thumbs.db": b"x",
        "polyps/.hidden.jpg": picture(),
        "polyps/tool": b"#!/bin/sh",
        "__MACOSX/polyps/._a.jpg": b"x",
    }
    with open_dataset(make(tmp_path, files)) as dataset:
        assert [i.file for i in dataset.items] == ["polyps/a.jpg"]
        assert dataset.report.ignored == {
            ".txt files": 1,
            "Windows metadata": 1,
            "hidden files": 1,
            "extensionless files": 1,
            "macOS metadata": 1,
        }


def test_a_collection_among_the_pictures_is_left_out_and_counted(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", {"polyps/a.jpg": picture(), "of polyps/my.collection/pictures/b.jpg": picture()})
    with CollectionWriter(tmp_path / "c", create=True):
        pass
    shutil.copytree(tmp_path / "c", data / "of polyps" / "my.collection", dirs_exist_ok=True)
    with open_dataset(data) as dataset:
        assert [item.file for item in dataset.items] == ["polyps/a.jpg"]
        assert dataset.report.ignored == {"folders that are collections": 1}


def test_picture_with_wrong_or_no_extension_is_taken_and_said(tmp_path: Path, make: Maker) -> None:
    files = {"c/a": picture(), "c/b.dat": picture("WEBP"), "c/c.dat": b"0" * 40, "c/d.jpg": b"no picture"}
    with open_dataset(make(tmp_path, files)) as dataset:
        assert [i.file for i in dataset.items] == ["c/a", "c/b.dat", "c/d.jpg"]
        assert dataset.report.notes == ("pictures with a wrong or no extension, used all the same: 2",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_picture_magic_knows_all_formats(kind: str) -> None:
    assert has_picture_magic(picture(kind)[:12])


def test_text_that_begins_with_bm_is_no_picture() -> None:
    assert not has_picture_magic(b"BM report for")


@pytest.mark.parametrize(
    ("per_class", "name", "missing"),
    [
        (500, "Kvasir v1", 0),
        (1000, "Kvasir v2", 0),
        (501, "Kvasir v2", 8 * 499),
        (220, "Kvasir (v1 or v2, partial)", 8 * 780),
    ],
)
def test_versions_of_kvasir_are_told_apart_by_their_numbers(per_class: int, name: str, missing: int) -> None:
    counts = dict.fromkeys(KVASIR_CLASSES, per_class)
    known = recognise(counts)
    assert known.name == name
    assert sum(Report(counts, expected=known.expected).missing.values()) == missing


def test_foreign_classes_among_kvasirs_are_surplus() -> None:
    counts = dict.fromkeys(KVASIR_CLASSES, 1000) | {"polyps": 1001, "instruments": 3}
    report = Report(counts, expected=recognise(counts).expected)
    assert report.surplus == {"polyps": 1, "instruments": 3}
    assert "surplus 4 (polyps 1, instruments 3)" in report.lines()


def test_hyperkvasir_has_its_published_total() -> None:
    assert (len(HYPERKVASIR), sum(HYPERKVASIR.values())) == (23, 10_662)
    known = recognise(HYPERKVASIR)
    assert known.name == "HyperKvasir"
    assert Report(HYPERKVASIR, expected=known.expected).lines()[-1] == "complete (official: 10,662 in 23 classes)"


def test_few_classes_with_common_names_are_not_taken_for_kvasir() -> None:
    assert recognise({"polyps": 10, "dyed-lifted-polyps": 4, "other": 7}).name == "folder of classes"


def test_stamp_of_a_file_changes_when_it_does(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", {"a.jpg": picture()})
    before = open_dataset(folder).items[0]
    os.utime(folder / "a.jpg", ns=(1, before.stamp + 1))
    assert open_dataset(folder).items[0].stamp == before.stamp + 1


def test_stamp_of_a_zip_member_is_its_crc(tmp_path: Path) -> None:
    with open_dataset(pack(tmp_path / "d.zip", {"a.jpg": picture()})) as dataset:
        assert dataset.items[0].stamp == zlib.crc32(picture())


@pytest.mark.slow
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_many_threads_read_a_zip_right(tmp_path: Path, compression: int) -> None:
    noise = random.Random(0)
    files = {f"c/{n:03}.jpg": noise.randbytes(noise.randrange(40_000)) + b"\0" * 500 for n in range(60)}
    with open_dataset(pack(tmp_path / "d.zip", files, compression)) as dataset, ThreadPoolExecutor(8) as pool:
        asked = noise.choices(dataset.items, k=400)
        assert list(pool.map(dataset.read, asked)) == [files[item.file] for item in asked]


def test_zip_appended_to_another_file_is_read(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.zip", {"c/a.jpg": picture()})
    path.write_bytes(b"PK, and a self-extracting stub" + path.read_bytes())
    with open_dataset(path) as dataset:
        assert dataset.read(dataset.items[0]) == picture()


def test_zip64_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("c/a.jpg", "w", force_zip64=True) as member:
        member.write(picture())
    with open_dataset(path) as dataset:
        assert dataset.read(dataset.items[0]) == picture()


def test_names_with_backslashes_and_dots_are_posix_paths_inside(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.zip", {"set\\polyps\\a.jpg": picture(shade=1), "./set/cecum/b.jpg": picture()})
    with open_dataset(path) as dataset:
        assert [(i.file, i.class_name) for i in dataset.items] == [
            ("set/cecum/b.jpg", "cecum"),
            ("set/polyps/a.jpg", "polyps"),
        ]
        assert dataset.read(dataset.items[1]) == picture(shade=1)


def test_members_that_escape_the_zip_are_ignored(tmp_path: Path) -> None:
    files = {"c/a.jpg": picture(), "../b.jpg": picture(), "/etc/c.jpg": picture(), "C:\\d.jpg": picture()}
    with open_dataset(pack(tmp_path / "d.zip", files)) as dataset:
        assert [i.file for i in dataset.items] == ["c/a.jpg"]
        assert dataset.report.ignored == {"names that point outside the zip": 3}


def test_damaged_member_is_an_error_of_that_picture_only(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.zip", {"c/a.jpg": b"A" * 999, "c/b.jpg": picture()}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"AAAA") + 500] ^= 1
    path.write_bytes(data)
    with open_dataset(path) as dataset:
        with pytest.raises(FileUnreadableError, match=r"c/a\.jpg: damaged inside d\.zip"):
            dataset.read(dataset.items[0])
        assert dataset.read(dataset.items[1]) == picture()


def test_file_that_vanished_is_an_error_of_that_picture(tmp_path: Path) -> None:
    dataset = open_dataset(fill(tmp_path / "d", {"a.jpg": picture()}))
    (tmp_path / "d/a.jpg").unlink()
    with pytest.raises(FileUnreadableError, match=r"a\.jpg: No such file"):
        dataset.read(dataset.items[0])


def test_symlink_loops_end_and_linked_folders_count_once(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", {"polyps/a.jpg": picture(), "cecum/b.jpg": picture()})
    (folder / "polyps/loop").symlink_to(folder)
    (folder / "alias").symlink_to(folder / "polyps")
    (folder / "self").symlink_to(folder / "self")
    (folder / "cecum/gone.jpg").symlink_to(folder / "nowhere")
    (folder / "cecum/c.jpg").symlink_to(folder / "polyps/a.jpg")
    dataset = open_dataset(folder)
    assert [i.file for i in dataset.items] == ["cecum/b.jpg", "cecum/c.jpg", "polyps/a.jpg"]
    assert dataset.report.ignored == {
        "links to folders that are read already": 2,
        "broken links and special files": 2,
    }


def test_pipe_does_not_hang(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", {"a.jpg": picture()})
    os.mkfifo(folder / "pipe.jpg")
    assert stat.S_ISFIFO((folder / "pipe.jpg").stat().st_mode)
    assert [i.file for i in open_dataset(folder).items] == ["a.jpg"]


def test_name_that_is_not_utf8_is_ignored(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", {"a.jpg": picture()})
    Path(os.fsdecode(bytes(folder) + b"/caf\xe9.jpg")).write_bytes(picture())
    assert open_dataset(folder).report.ignored == {"names that are not UTF-8": 1}


def test_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="nowhere: no such folder or zip"):
        open_dataset(tmp_path / "nowhere")


def test_file_that_is_no_zip_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture())
    with pytest.raises(NotASourceError, match="neither a folder nor a zip"):
        open_dataset(tmp_path / "a.jpg")


def test_zip_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.zip", {"c/a.jpg": picture()})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DamagedZipError, match="damaged or cut off"):
        open_dataset(path)


def test_zip_with_a_password_is_an_error(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.zip", {"c/a.jpg": picture()}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(EncryptedZipError, match="asks for a password"):
        open_dataset(path)


def test_no_pictures_is_an_error_that_names_a_zip_inside(tmp_path: Path, make: Maker) -> None:
    with pytest.raises(
        NoPicturesError, match=r"it holds kvasir-dataset-v2\.zip: (unpack that and )?give (that|its) path"
    ):
        open_dataset(make(tmp_path, {"kvasir-dataset-v2.zip": b"PK"}))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoPicturesError, match="among 0 files"):
        open_dataset(tmp_path)


@pytest.mark.skipif(not (SHARED / "data/kvasir-v2-subset").is_dir(), reason="needs ../shared/data")
def test_partial_kvasir_is_recognised_with_what_it_lacks() -> None:
    dataset = open_dataset(SHARED / "data/kvasir-v2-subset")
    assert dataset.name == "Kvasir (v1 or v2, partial)"
    assert dataset.classes == KVASIR_CLASSES
    assert len(dataset.items) == 924
    assert dataset.report.missing["normal-z-line"] == 989
    assert isinstance(dataset.items[0], Item)


def test_one_class_name_in_two_unicode_forms_is_one_class_and_paths_stay_as_they_are(tmp_path: Path) -> None:
    composed, decomposed = "s\u00e9v\u00e8re", "se\u0301ve\u0300re"
    files = [f"{composed}/a.jpg", f"{decomposed}/b.jpg", "x/c.jpg"]
    with open_dataset(fill(tmp_path / "d", dict.fromkeys(files, picture()))) as dataset:
        assert dataset.report.counts == {composed: 2, "x": 1}
        assert {item.file for item in dataset.items} == set(files)
        assert {dataset.read(item) for item in dataset.items} == {picture()}


@pytest.mark.parametrize(
    "names", [("Polyps", "polyps"), ("polyps", "polyps "), ("normal cecum", "normal-cecum"), ("z_line", "Z-Line")]
)
def test_classes_that_differ_in_spelling_alone_are_told(tmp_path: Path, names: tuple[str, str]) -> None:
    with open_dataset(fill(tmp_path / "d", {f"{name}/a.jpg": picture() for name in (*names, "other")})) as dataset:
        assert len(dataset.classes) == 3
        told = ", ".join(f"'{name}'" for name in sorted(names))
        assert dataset.report.notes == (f"classes that differ only in spelling: {told}",)


def test_numbers_that_differ_are_no_spelling(tmp_path: Path) -> None:
    files = {f"{name}/a.jpg": picture() for name in ("grade-1-2", "grade-12", "grade-1", "bbps-0-1")}
    assert open_dataset(fill(tmp_path / "d", files)).report.notes == ()


def test_kvasir_seg_is_pictures_without_a_class_and_masks_are_counted(tmp_path: Path, make: Maker) -> None:
    files = {f"Kvasir-SEG/{folder}/{n}.jpg": picture(shade=n) for folder in ("images", "masks") for n in range(4)}
    with open_dataset(make(tmp_path, files | {"Kvasir-SEG/kavsir_bboxes.json": b"{}"})) as dataset:
        assert dataset.name == "Kvasir-SEG"
        assert [(item.file, item.class_name) for item in dataset.items] == [
            (f"Kvasir-SEG/images/{n}.jpg", None) for n in range(4)
        ]
        assert dataset.report.ignored == {".json files": 1, "segmentation masks": 4}


def heic() -> bytes:
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(80)


def test_a_folder_of_heic_names_the_remedy_without_pillow_heif(
    tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    files = {"polyps/1.HEIC": heic(), "polyps/2.heif": heic(), "polyps/3": heic(), "polyps/notes.txt": b"x"}
    with pytest.raises(NoPicturesError, match=r"among 4 files; 3 HEIC files: convert them to JPEG or PNG, or"):
        open_dataset(make(tmp_path, files))


def test_heic_among_other_pictures_is_told_without_pillow_heif(
    tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with open_dataset(make(tmp_path, {"polyps/1.heic": heic(), "polyps/2.jpg": picture()})) as dataset:
        assert [item.file for item in dataset.items] == ["polyps/2.jpg"]
        assert dataset.report.ignored == {".heic files": 1}
        (note,) = dataset.report.notes
        assert note.startswith("not read: a HEIC file; convert it to JPEG or PNG, or install pillow-heif")


def test_heic_is_a_picture_where_pillow_heif_is_installed(tmp_path: Path, make: Maker) -> None:
    pytest.importorskip("pillow_heif")
    files = {"polyps/1.HEIC": heic(), "polyps/2": heic(), "polyps/3.jpg": picture()}
    with open_dataset(make(tmp_path, files)) as dataset:
        assert [item.file for item in dataset.items] == ["polyps/1.HEIC", "polyps/2", "polyps/3.jpg"]


def test_a_jpeg_that_is_called_heic_is_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert len(open_dataset(fill(tmp_path / "d", {"a.heic": picture()})).items) == 1


@pytest.mark.parametrize(
    ("files", "remedy"),
    [
        (["a.tar.gz", "b.tgz"], "2 archives: unpack them and give their folder"),
        (["a.7z"], "an archive: unpack it and give its folder"),
        (["a.avif", "b.AVIF"], "2 AVIF files: convert them to JPEG or PNG"),
        (["a.zip", "b.zip"], "2 zips, the first a.zip: unpack them into one folder, and give that"),
        (["a.mp4"], "a video: take frames out of it"),
        (["a.dcm", "b.dcm", "c.avi"], "2 DICOM files: export their frames as PNG; a video: take frames"),
    ],
)
def test_no_pictures_is_an_error_that_names_the_remedy(
    tmp_path: Path, make: Maker, files: list[str], remedy: str
) -> None:
    with pytest.raises(NoPicturesError, match=remedy):
        open_dataset(make(tmp_path, dict.fromkeys(files, b"x")))


def test_an_archive_in_the_place_of_a_zip_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "d.tar.gz").write_bytes(b"\x1f\x8b\x08 packed")
    with pytest.raises(NotASourceError, match="neither a folder nor a zip; it is an archive: unpack it and give"):
        open_dataset(tmp_path / "d.tar.gz")


def test_classes_from_a_table_and_a_map(tmp_path: Path, make: Maker) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("file,class\n1.jpg,cecum\n2.jpg,polyp\n")
    files = {"flat/1.jpg": picture(), "flat/2.jpg": picture(), "flat/3.jpg": picture()}
    class_map = ClassMap({"cecum": "normal-cecum"})
    with open_dataset(make(tmp_path, files), labels=labels, class_map=class_map) as dataset:
        assert [item.class_name for item in dataset.items] == ["normal-cecum", "polyp", None]
        assert dataset.report.counts == {"normal-cecum": 1, "polyp": 1}
        assert dataset.report.notes == (
            "classes from labels.csv: 2 pictures",
            "pictures that labels.csv does not name, left without a class: 1",
            "class cecum counted as normal-cecum: 1 picture",
        )
