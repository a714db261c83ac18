from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.collection import Collection, CollectionWriter, FormatError, SpaceDefinition
from retrieval.descriptors import DESCRIPTORS, UnknownDescriptorError, extract_all
from retrieval.images import from_image
from retrieval.spaces import (
    Space,
    UnknownKindError,
    UnknownMetricError,
    UnsupportedQueryError,
    VectorError,
    create_space,
    metric_of,
    open_space,
    prepare_all,
)


@pytest.fixture
def both(indexed: Any, tmp_path: Path) -> tuple[Path, Space, Space]:
    """A copy of the drawn collection with a descriptor's space beside the encoder's."""
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    with CollectionWriter(path) as writer:
        definition = create_space(writer, "descriptor:ColorLayout")
    encoder = Collection.open(path).spaces[0]
    return path, open_space(path, encoder), open_space(path, definition)


def test_a_space_embeds_a_picture_as_indexing_did(
    both: tuple[Path, Space, Space], draw: Callable[..., Image.Image]
) -> None:
    path, encoder, descriptor = both
    collection = Collection.open(path)
    picture = from_image(Image.open(io.BytesIO(collection.read(0))))
    assert encoder.embed([encoder.prepare(picture)]).shape == (1, 1280)
    vector = descriptor.embed([descriptor.prepare(picture)])
    assert vector.dtype == np.float32
    assert np.array_equal(vector[0], extract_all(picture.pixels(), ["ColorLayout"])["ColorLayout"])
    assert encoder.embed([]).shape == (0, 1280)
    assert descriptor.embed([]).shape == (0, DESCRIPTORS["ColorLayout"].length)


def test_one_picture_is_prepared_for_all_spaces_as_for_each_alone(
    both: tuple[Path, Space, Space], draw: Callable[..., Image.Image]
) -> None:
    _, encoder, descriptor = both
    picture = from_image(draw(3))
    together = prepare_all([encoder, descriptor], {encoder.draft: picture, None: picture})
    for space in (encoder, descriptor):
        assert np.array_equal(together[space.name], space.prepare(picture))


def test_a_vector_from_outside_is_checked_and_brought_to_unit_length(both: tuple[Path, Space, Space]) -> None:
    _, encoder, descriptor = both
    made = encoder.validate(np.full(1280, 7))
    assert made.dtype == np.float32
    assert np.linalg.norm(made) == pytest.approx(1, abs=1e-6)
    for wrong, why in [
        (np.ones(3), "vectors of 1280 real numbers"),
        (np.ones(1280, complex), "complex"),
        (np.full(1280, np.nan), "not finite"),
        (np.full(1280, -np.inf), "not finite"),
        (np.zeros(1280), "no direction"),
    ]:
        with pytest.raises(VectorError, match=why):
            encoder.validate(wrong)
    with pytest.raises(VectorError, match="value 0 is -1"):
        descriptor.validate(np.full(33, -1.0))
    assert descriptor.plausible(np.array([np.zeros(33), np.full(33, 0.5)])).tolist() == [True, False]


def test_the_combined_vector_ranks_as_the_weighted_mean_distance_does(both: tuple[Path, Space, Space]) -> None:
    _, encoder, descriptor = both
    random = np.random.default_rng(5)
    units = random.normal(size=(40, 1280))
    units = (units / np.linalg.norm(units, axis=1, keepdims=True)).astype(np.float32)
    weights = np.array([1.0, 0.25])
    combined = encoder.combine(units[:2], weights)
    assert combined is not None
    means = weights @ encoder.metric.distances(units[:2], units[2:])
    assert np.array_equal(np.argsort(means), np.argsort(encoder.metric.distances(combined[None], units[2:])[0]))
    assert encoder.combine(np.stack([units[0], -units[0]]), np.ones(2)) is None
    assert descriptor.combine(np.ones((2, 33)), np.ones(2)) is None


def test_what_a_space_cannot_do_is_refused_with_its_name(both: tuple[Path, Space, Space]) -> None:
    for space in both[1:]:
        with pytest.raises(UnsupportedQueryError, match=f"'{space.name}' has no text encoder"):
            space.embed_texts(["a polyp"])
    with pytest.raises(UnsupportedQueryError, match="no spatial features"):
        both[2].feature_map(from_image(Image.new("RGB", (9, 9))))


def test_a_missing_or_damaged_converted_encoder_is_a_fault(both: tuple[Path, Space, Space]) -> None:
    path, encoder, descriptor = both
    assert encoder.fault() is None
    assert descriptor.fault() is None
    weights = path / "encoders" / encoder.name / "tower.bin"
    data = bytearray(weights.read_bytes())
    data[1000] ^= 1
    weights.write_bytes(data)
    assert encoder.fault() == "its converted encoder is damaged"
    shutil.rmtree(weights.parent)
    assert encoder.fault() == "its converted encoder is missing"


def test_unknown_kinds_metrics_and_descriptors_are_told(tmp_path: Path) -> None:
    definition = SpaceDefinition("x", 0, "hologram", 2, "float32", "cosine", {})
    with pytest.raises(UnknownKindError, match="'hologram'; this version has encoder, descriptor, learned"):
        open_space(tmp_path, definition)
    with pytest.raises(UnknownMetricError, match="'lire-x'"):
        metric_of(SpaceDefinition("x", 0, "descriptor", 2, "float32", "lire-x", {}))
    with CollectionWriter(tmp_path / "c", create=True) as writer, pytest.raises(UnknownDescriptorError):
        create_space(writer, "descriptor:Nothing")


@pytest.mark.parametrize(
    ("kind", "metric", "recipe", "reason"),
    [
        ("descriptor", "lire-color-layout", {"origin": "computed"}, "has no field 'variant'"),
        ("descriptor", "lire-color-layout", {"variant": 3}, "has 3 as the field 'variant'"),
        ("learned", "cosine", {}, "has no field 'sources'"),
        ("learned", "cosine", {"sources": [], "method": "lda"}, "has no field 'model'"),
        ("learned", "cosine", {"sources": "c"}, "has 'c' as the field 'sources'"),
    ],
)
def test_a_recipe_without_a_field_is_told_with_the_spaces_name(
    tmp_path: Path, kind: str, metric: str, recipe: dict[str, Any], reason: str
) -> None:
    definition = SpaceDefinition("s", 0, kind, 4, "float32", metric, recipe)
    with pytest.raises(FormatError, match=f"recipe of the space 's' {reason}; restore the collection's manifest"):
        open_space(tmp_path, definition).prepare(from_image(Image.new("RGB", (64, 64))))
