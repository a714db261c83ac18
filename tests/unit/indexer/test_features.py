from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.datasets import Item, open_dataset
from indexer.errors import FeaturesError
from indexer.features import (
    SHIPPED,
    AmbiguousFeaturesError,
    DescriptorLengthError,
    DescriptorMissingError,
    DescriptorNameError,
    DescriptorRepeatedError,
    DescriptorValueError,
    FeaturesNotFoundError,
    FeaturesUnreadableError,
    NoFeaturesError,
    format_features,
    match,
    open_features,
    parse_features,
    write_features,
)

SHARED = Path(__file__).resolve().parents[3] / "../shared/data"
LINES = [f"{name}:{','.join(['1.0'] * length)}" for name, (length, _) in SHIPPED.items()]
TEXT = "\n".join(LINES) + "\n"


def parse(text: str) -> dict[str, np.ndarray]:
    return parse_features(text.encode(), "a.features")


def test_lengths_are_those_of_lire() -> None:
    assert {name: length for name, (length, _) in SHIPPED.items()} == {
        "JCD": 168,
        "Tamura": 18,
        "ColorLayout": 33,
        "EdgeHistogram": 80,
        "AutoColorCorrelogram": 256,
        "PHOG": 630,
    }


def test_values_keep_their_places_and_dtypes() -> None:
    numbers = ",".join(f"{n}.0" for n in range(33))
    vectors = parse(TEXT.replace(LINES[2], f"ColorLayout:{numbers}"))
    assert vectors["ColorLayout"].tolist() == list(range(33))
    assert {name: vector.dtype for name, vector in vectors.items()} == {
        name: np.float64 if name == "Tamura" else np.float32 for name in SHIPPED
    }


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(reversed(LINES)),
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT,
        "\n\n" + TEXT.replace("\n", "\n \n"),
        TEXT.replace(":", " : ").replace(",", " ,\t "),
        TEXT.replace("1.0", "1"),
        TEXT.replace("1.0", "1e0"),
        TEXT.replace("1.0", "+10.0E-1"),
    ],
    ids=["order", "crlf", "bom", "blank lines", "spacing", "integers", "exponents", "java exponents"],
)
def test_form_is_free(text: str) -> None:
    vectors = parse(text)
    assert list(vectors) == list(SHIPPED)
    assert all((vector == 1).all() for vector in vectors.values())


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (TEXT.replace(LINES[1], ""), DescriptorMissingError, "a.features: no line of Tamura"),
        (TEXT + LINES[0], DescriptorRepeatedError, "line 7: a second line of JCD"),
        (TEXT.replace("PHOG", "Phog"), DescriptorNameError, "line 6: begins with 'Phog'"),
        (TEXT + "CEDD:1.0", DescriptorNameError, "line 7: begins with 'CEDD'"),
        (TEXT.replace("JCD:", "JCD "), DescriptorNameError, "line 1: begins with"),
        (TEXT.replace("Tamura:", "Tamura:1.0,"), DescriptorLengthError, "line 2: Tamura has 19 values"),
        (TEXT.replace("JCD:1.0,", "JCD:"), DescriptorLengthError, "line 1: JCD has 167 values; expected 168"),
        (TEXT.replace("JCD:1.0,", "JCD:,"), DescriptorValueError, "line 1: JCD .* not a number"),
        (TEXT.replace("JCD:1.0,", "JCD:one,"), DescriptorValueError, "line 1: .*'one'"),
        (TEXT.replace("JCD:1.0,", "JCD:1_0,"), DescriptorValueError, "line 1: JCD"),
        (TEXT.replace("JCD:1.0,", "JCD:\u0661,"), DescriptorValueError, "line 1: JCD"),
        (TEXT.replace("Tamura:1.0,1.0", "Tamura:1.0,NaN"), DescriptorValueError, "line 2: value 2 .* is NaN; "),
        (TEXT.replace("PHOG:1.0", "PHOG:-Infinity"), DescriptorValueError, "line 6: .* is -Infinity"),
        (TEXT.replace("JCD:1.0", "JCD:1e39"), DescriptorValueError, "line 1: value 1 of JCD is 1e39"),
        (TEXT.replace("JCD:1.0", "JCD:-0.5"), DescriptorValueError, "is -0.5; JCD has finite values of 0 or more"),
        (TEXT.replace("EdgeHistogram:1.0", "EdgeHistogram:8.0"), DescriptorValueError, "whole numbers of 0 to 7"),
        (TEXT.replace("PHOG:1.0", "PHOG:0.5"), DescriptorValueError, "value 1 of PHOG is 0.5"),
        ("", DescriptorMissingError, "no line of JCD, Tamura"),
    ],
)  # fmt: skip
def test_names_lengths_and_numbers_are_strict(text: str, error: type[FeaturesError], message: str) -> None:
    with pytest.raises(error, match=message):
        parse(text)


def test_bytes_that_are_no_text_are_an_error() -> None:
    with pytest.raises(FeaturesUnreadableError, match=r"a\.features: not text"):
        parse_features(b"JCD:\xff", "a.features")


@pytest.mark.slow
@given(
    st.lists(st.floats(0, allow_infinity=False), min_size=18, max_size=18),
    st.lists(st.floats(0, width=32, allow_infinity=False), min_size=168, max_size=168),
)
def test_what_is_written_is_read_back_equal(tamura: list[float], jcd: list[float]) -> None:
    vectors = {name: np.ones(length, dtype) for name, (length, dtype) in SHIPPED.items()}
    vectors |= {"Tamura": np.array(tamura), "JCD": np.array(jcd, np.float32)}
    again = parse(format_features(vectors))
    assert all(again[name].tobytes() == vectors[name].tobytes() for name in SHIPPED)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (4.5, "4.5"),
        (3.624387254901961, "3.624387254901961"),
        (0.001, "0.001"),
        (0.0009, "9.0E-4"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (-1.2345e-10, "-1.2345E-10"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
    ],
)
def test_numbers_are_written_as_java_does(value: float, text: str) -> None:
    vectors = {name: np.ones(length, dtype) for name, (length, dtype) in SHIPPED.items()}
    vectors["Tamura"][0] = value
    assert format_features(vectors).splitlines()[1].startswith(f"Tamura:{text},1.0,")


def test_vectors_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    vectors = {name: np.ones(length) for name, (length, _) in SHIPPED.items()}
    for wrong, error in [
        (vectors | {"JCD": np.ones(167)}, DescriptorLengthError),
        ({"JCD": vectors["JCD"]}, DescriptorMissingError),
        (vectors | {"JCD": np.full(168, np.nan)}, DescriptorValueError),
    ]:
        with pytest.raises(error):
            write_features(tmp_path / "x/a.features", wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrap", ["", "kvasir-dataset-v2-features/"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_archive_is_read_by_class_and_name(tmp_path: Path, wrap: str, kind: str) -> None:
    names = [f"{wrap}polyps/a.features", f"{wrap}cecum/a.b.features", f"{wrap}readme.txt"]
    path = tmp_path / "features.zip"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, TEXT)
    else:
        path = tmp_path / "features"
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(TEXT)
    with open_features(path) as features:
        assert features.keys() == [("cecum", "a.b"), ("polyps", "a")]
        assert features.read("polyps", "a")["PHOG"].shape == (630,)
        with pytest.raises(FeaturesNotFoundError, match="no features for cecum/a"):
            features.read("cecum", "a")


def test_fault_in_an_archive_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "polyps").mkdir()
    (tmp_path / "polyps/a.features").write_text("JCD:1\n")
    with pytest.raises(DescriptorLengthError, match=r"polyps/a\.features, line 1: JCD has 1 values"):
        open_features(tmp_path).read("polyps", "a")


def test_archive_without_features_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(NoFeaturesError, match=r"no \.features files among 1 files"):
        open_features(tmp_path)


def test_two_files_for_one_picture_are_an_error(tmp_path: Path) -> None:
    for name in ("train/polyps/a.features", "test/polyps/a.features"):
        write_features(tmp_path / name, parse(TEXT))
    with pytest.raises(AmbiguousFeaturesError, match=r"test/polyps/a\.features and train/polyps/a\.features"):
        open_features(tmp_path)


def test_pictures_and_features_that_stand_alone_are_listed(tmp_path: Path) -> None:
    for name in ("polyps/a.features", "polyps/c.features", "cecum/b.features"):
        write_features(tmp_path / name, parse(TEXT))
    items = [Item(f"set/{file}", file.split("/")[0], 1, 1) for file in ("polyps/a.jpg", "polyps/b.jpg")]
    found = match(items, open_features(tmp_path))
    assert found.matched == (items[0],)
    assert found.without_features == (items[1],)
    assert found.without_image == (("cecum", "b"), ("polyps", "c"))


@pytest.mark.skipif(not (SHARED / "kvasir-v2-subset-features").is_dir(), reason="needs ../shared/data")
def test_shipped_form_is_written_byte_for_byte() -> None:
    archive = open_features(SHARED / "kvasir-v2-subset-features")
    found = match(open_dataset(SHARED / "kvasir-v2-subset").items, archive)
    assert (len(found.matched), found.without_features, found.without_image) == (924, (), ())
    for class_name, stem in archive.keys()[::40]:
        text = (SHARED / f"kvasir-v2-subset-features/{class_name}/{stem}.features").read_text()
        assert format_features(archive.read(class_name, stem)).strip() == text.strip()
