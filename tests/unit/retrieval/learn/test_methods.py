from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from retrieval.learn import (
    METHODS,
    LearnOptions,
    NothingToLearnError,
    UnknownMethodError,
    discriminant,
    fit,
    head,
    pooled,
    within_class,
)
from retrieval.learn.model import DamagedModelError, Model
from retrieval.learn.whitening import apply_components, fit_components, unit


def three_classes(count: int = 60, noise: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes that differ in two of 12 numbers, while another number varies far more within each."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    vectors = random.normal(size=(count, 12))
    vectors[:, 0] *= noise
    vectors[:, 1] += 4 * (labels == 1)
    vectors[:, 2] += 4 * (labels == 2)
    return vectors.astype(np.float32), labels


def first_hits(vectors: np.ndarray, labels: np.ndarray) -> float:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -2)
    return float((labels[similarity.argmax(axis=1)] == labels).mean())


def test_components_are_standardised_centred_and_ordered_by_variance() -> None:
    vectors = np.array([[1.0, 10, 5], [2, 30, 5], [3, 20, 5], [6, 0, 5]])
    arrays = fit_components(vectors, (2, 1), 5)
    assert arrays["mean"].tolist() == [3, 15, 5]
    # One over the deviation and the root of the source's length; a number that never changes counts nothing.
    assert arrays["scale"] == pytest.approx([1 / np.sqrt(3.5 * 2), 1 / np.sqrt(125 * 2), 0])
    made = apply_components(arrays, vectors)
    assert made.shape == (4, 2)
    assert made.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert made.var(axis=0)[0] > made.var(axis=0)[1]
    assert made.var(axis=0).sum() == pytest.approx(1, abs=1e-6)


def test_a_discriminant_finds_the_direction_that_parts_two_classes() -> None:
    features = np.array([[0.0, 5], [0, -5], [1, 5], [1, -5]])
    arrays = discriminant.fit(features, np.array([0, 0, 1, 1]), 0)
    assert arrays["matrix"].shape == (2, 1)
    assert arrays["matrix"][1, 0] == pytest.approx(0, abs=1e-6)
    apart = discriminant.apply(arrays, features)[:, 0]
    assert abs(apart[0] - apart[2]) > 0
    assert apart[0] == pytest.approx(apart[1], abs=1e-6)


def test_a_pooled_discriminant_takes_its_covariance_from_the_large_class() -> None:
    # Of 2 and 16 images: the small class varies along the first number, the large one along the second.
    small = np.array([[3.0, 1], [-3, 1]])
    large = np.array([[0.0, 3 - 1], [0, -3 - 1]] * 8)
    features, labels = np.concatenate([small, large]), np.repeat([0, 1], [2, 16])
    share = 2**0.75 / (2**0.75 + 16**0.75)
    within = {0.0: np.diag([4.5, 4.5]), 0.75: np.diag([9 * share, 9 * (1 - share)])}
    for made, power in ((discriminant.fit(features, labels, 0), 0.0), (pooled.fit(features, labels, 0), 0.75)):
        covariance = 0.9 * within[power] + 0.1 * np.trace(within[power]) / 2 * np.eye(2)
        direction = made["matrix"][:, 0].astype(float)
        assert direction @ covariance @ direction == pytest.approx(1, rel=1e-5)
        expected = np.linalg.solve(covariance, [0, 2])
        assert abs(direction @ expected) == pytest.approx(np.linalg.norm(direction) * np.linalg.norm(expected))
        assert made["mean"] == pytest.approx([0, 0], abs=1e-6)


def test_within_class_normalisation_keeps_every_direction() -> None:
    vectors, labels = three_classes()
    arrays = within_class.fit(vectors.astype(np.float64), labels, 0)
    assert np.linalg.matrix_rank(arrays["matrix"]) == 12
    assert arrays["matrix"] == pytest.approx(arrays["matrix"].T, abs=1e-5)
    assert arrays["matrix"][0, 0] < arrays["matrix"][3, 3] / 1.5  # the noisy number counts less


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_unit_vectors_the_same_for_one_seed_and_alone_as_among_others(method: str) -> None:
    vectors, labels = three_classes()
    options = LearnOptions(method, dimension=8, seed=3)
    model = fit([vectors], labels, options)
    made = model.transform([vectors])
    assert made.dtype == np.float32
    assert made.shape == (60, model.dimension)
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(fit([vectors], labels, options).transform([vectors]), made)
    assert np.allclose(model.transform([vectors[7:8]]), made[7:8], atol=1e-6)
    assert sum(model.shares.values()) == pytest.approx(1)


def test_networks_that_are_fitted_at_once_are_those_that_are_fitted_alone() -> None:
    import torch

    vectors, labels = three_classes()
    features, state = vectors.astype(np.float64), torch.get_rng_state()
    alone = {seed: head.fit(features, labels, seed) for seed in (1, 2)}
    with ThreadPoolExecutor(2) as pool:
        at_once = list(pool.map(lambda seed: head.fit(features, labels, seed), (1, 2, 1, 2)))
    for seed, made in zip((1, 2, 1, 2), at_once, strict=True):
        assert all(np.array_equal(array, alone[seed][name]) for name, array in made.items())
    assert not np.array_equal(alone[1]["second"], alone[2]["second"])
    assert torch.equal(torch.get_rng_state(), state)  # PyTorch's global state is left as it was


@pytest.mark.parametrize("method", ["wccn", "lda", "nystroem", "head", "blend", "ensemble"])
def test_what_learns_from_classes_retrieves_them_better_on_images_that_it_has_not_seen(method: str) -> None:
    vectors, labels = three_classes(180)
    other, other_labels = three_classes(180, seed=1)
    model = fit([vectors], labels, LearnOptions(method, dimension=12))
    unlearned = fit([vectors], labels, LearnOptions("pca", dimension=12))
    assert first_hits(model.transform([other]), other_labels) > first_hits(unlearned.transform([other]), other_labels)


def test_the_unlearned_share_is_what_is_asked_for() -> None:
    vectors, labels = three_classes()
    shares = fit([vectors], labels, LearnOptions("blend", 8, unlearned=0.5, seeds=2)).shares
    assert shares == pytest.approx({"discriminant": 0.25, "head": 0.125, "head#2": 0.125, "base": 0.5})
    assert "base" not in fit([vectors], labels, LearnOptions("lda", 8, unlearned=0.0)).shares


def test_images_without_a_class_teach_the_components_alone() -> None:
    vectors, labels = three_classes()
    some = np.where(np.arange(60) < 30, labels, -1)
    model = fit([vectors], some, LearnOptions("lda", 8))
    assert model.arrays["base.mean"] == pytest.approx(vectors.mean(axis=0), abs=1e-5)
    assert model.dimension == 2 + 8


def test_a_stored_model_is_the_same_and_a_damaged_one_is_refused(tmp_path) -> None:
    import hashlib

    vectors, labels = three_classes()
    model = fit([vectors[:, :5], vectors[:, 5:]], labels, LearnOptions("blend", 8))
    data = model.to_bytes()
    path = tmp_path / "m.npz"
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    parts = [vectors[:, :5], vectors[:, 5:]]
    assert np.array_equal(Model.load(path, digest).transform(parts), model.transform(parts))
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(DamagedModelError, match="missing or damaged"):
        Model.load(path, digest)


def test_one_class_no_image_and_unknown_methods_are_refused() -> None:
    vectors, labels = three_classes()
    with pytest.raises(NothingToLearnError, match="two classes or more"):
        fit([vectors], np.zeros(60, int), LearnOptions("lda"))
    with pytest.raises(NothingToLearnError, match="2 images"):
        fit([vectors[:2]], labels[:2], LearnOptions("pca"))
    with pytest.raises(UnknownMethodError, match="'x'; there are pca"):
        fit([vectors], labels, LearnOptions("x"))


def test_rows_of_zeros_stay_at_unit() -> None:
    assert unit(np.array([[0.0, 0], [3, 4]])).tolist() == [[0, 0], [0.6, 0.8]]


def test_equal_vectors_do_not_set_the_kernels_width() -> None:
    vectors, labels = three_classes()
    copies = vectors.copy()
    copies[:45] = vectors[np.arange(45) % 3]
    fitted = fit([copies], labels, LearnOptions("nystroem", unlearned=0.0))
    made = fitted.transform([copies])
    assert np.linalg.norm(made, axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    assert first_hits(made, labels) > 0.9
