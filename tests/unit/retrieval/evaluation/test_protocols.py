from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.evaluation.options import EvaluationOptions
from retrieval.evaluation.protocols import (
    Protocol,
    Round,
    TooManyFoldsError,
    cluster_numbers,
    hold_out,
    k_fold,
    leaking_queries,
    leave_cluster_out,
    leave_one_out,
    leave_scene_out,
    protocol_named,
    with_sampled_queries,
)

LABELS = np.repeat([0, 1, 2], [500, 50, 10])


def test_hold_out_takes_its_share_of_every_class() -> None:
    (only,) = hold_out(LABELS, np.full(560, -1), test_share=0.2).rounds
    assert np.bincount(LABELS[only.queries]).tolist() == [100, 10, 2]
    assert sorted([*only.queries, *only.gallery]) == list(range(560))


def test_folds_cover_all_images_and_share_out_every_class() -> None:
    protocol = k_fold(LABELS, np.full(560, -1), folds=5)
    assert sorted(row for one in protocol.rounds for row in one.queries) == list(range(560))
    for one in protocol.rounds:
        assert np.bincount(LABELS[one.queries]).tolist() == [100, 10, 2]
        assert not set(one.queries) & set(one.gallery)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 80), st.integers(1, 40), st.integers(2, 5), st.integers(0, 1000))
def test_no_split_parts_a_cluster(n: int, clusters: int, folds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, of = random.integers(-1, 4, n), random.integers(-1, clusters, n)
    folds = min(folds, int(cluster_numbers(of).max()) + 1)
    for protocol in (hold_out(labels, of, 0.3, seed), k_fold(labels, of, folds, seed)):
        assert leaking_queries(protocol, of) == 0


def test_a_seed_gives_one_split_and_another_seed_another() -> None:
    clusters = np.full(560, -1)
    first, again, other = (hold_out(LABELS, clusters, seed=seed).rounds[0].queries.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_leave_one_out_leaks_where_there_are_near_duplicates_and_leave_cluster_out_does_not() -> None:
    clusters = np.array([4, 4, 4, 9, -1, -1])
    assert leaking_queries(leave_one_out(clusters), clusters) == 3
    assert leaking_queries(leave_cluster_out(clusters), clusters) == 0


def test_a_parted_cluster_leaks() -> None:
    protocol = Protocol("split file", "", (Round(np.array([0, 1]), np.array([2, 3])),), np.arange(4))
    assert leaking_queries(protocol, np.array([7, 8, 7, 9])) == 1


def test_images_without_a_cluster_are_clusters_of_one() -> None:
    assert cluster_numbers(np.array([-1, 5, -1, 5])).tolist() == [1, 2, 0, 2]


def test_reindexing_leaves_each_image_query_or_gallery() -> None:
    protocol = Protocol("split", "", (Round(np.array([0, 2, 4]), np.array([1, 3])),), np.array([10, 11, 12, 13, 14]))
    small = protocol.reindexed(np.array([0, 3, 4]))
    assert small.rounds[0].queries.tolist() == [0, 2]
    assert small.rounds[0].gallery.tolist() == [1]
    assert small.groups.tolist() == [10, 13, 14]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_holds_for_clusters_of_several_sizes(share: float) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 900)
    clusters = labels * 1000 + random.integers(0, 120, 900)
    (only,) = hold_out(labels, clusters, share).rounds
    assert np.bincount(labels[only.queries]) == pytest.approx(share * np.bincount(labels), abs=3)


def test_more_folds_than_clusters_are_refused() -> None:
    with pytest.raises(TooManyFoldsError, match="4 folds of 3 clusters"):
        k_fold(np.array([0, 1, 0, 1]), np.array([5, 5, 6, 7]), folds=4)


def test_a_restricted_protocol_leaves_out_other_images_and_its_sentence_counts_them() -> None:
    protocol = leave_one_out(np.arange(5)).restricted_to(np.array([0, 2, 3]))
    assert protocol.rounds[0].queries.tolist() == protocol.rounds[0].gallery.tolist() == [0, 2, 3]
    assert protocol.sentence.endswith("; 2 images that a space lacks take no part")
    assert leave_one_out(np.arange(2)).restricted_to(np.arange(2)).sentence == leave_one_out(np.arange(2)).sentence


def test_leave_scene_out_leaves_out_the_scene_that_leave_cluster_out_searches() -> None:
    clusters = np.array([0, 0, 2, 3, 4])
    scenes = np.array([0, 0, 0, 3, 3])
    by_name = protocol_named("leave-scene-out", clusters, scenes)
    assert by_name.name == "leave-scene-out"
    assert by_name.groups.tolist() == [0, 0, 0, 1, 1]
    assert protocol_named("leave-cluster-out", clusters, scenes).groups.tolist() == [0, 0, 1, 2, 3]
    assert leaking_queries(leave_cluster_out(clusters), scenes) == 5
    assert leaking_queries(leave_scene_out(scenes), scenes) == 0
    assert protocol_named("leave-scene-out", clusters).groups.tolist() == [0, 0, 1, 2, 3]


def test_sampled_queries_are_drawn_from_each_class_by_its_share() -> None:
    labels = np.repeat([0, 1, 2, -1], [600, 300, 3, 97])
    everything = leave_one_out(np.arange(1000))
    protocol = with_sampled_queries(everything, labels, 90, seed=3)
    (round_,) = protocol.rounds
    assert np.bincount(labels[round_.queries]).tolist() == [59, 30, 1]
    assert len(np.unique(round_.queries)) == 90
    assert len(round_.gallery) == 1000
    assert protocol.sentence.endswith("; 90 of 903 queries, drawn from each class by its share (seed 3)")
    again = with_sampled_queries(everything, labels, 90, seed=3)
    assert again.rounds[0].queries.tolist() == round_.queries.tolist()
    other = with_sampled_queries(everything, labels, 90, seed=4)
    assert other.rounds[0].queries.tolist() != round_.queries.tolist()
    assert with_sampled_queries(everything, labels, 903, seed=3) is everything


def test_queries_are_sampled_of_large_collections_alone_unless_a_number_is_given() -> None:
    assert EvaluationOptions().query_count(20_000) is None
    assert EvaluationOptions().query_count(20_001) == 5_000
    assert EvaluationOptions(queries=7).query_count(100) == 7


def test_classes_of_few_images_fill_every_fold() -> None:
    for labels in (np.arange(40), np.repeat(np.arange(20), 2), np.arange(40) % 13):
        protocol = k_fold(labels, np.arange(40), folds=5, seed=3)
        assert [len(fold.queries) for fold in protocol.rounds] == [8] * 5
        of_fold = [labels[fold.queries] for fold in protocol.rounds]
        assert all(len(np.unique(own)) == len(own) for own in of_fold)  # no class has two images in one
