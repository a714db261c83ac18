"""The test of reasons on a collection: sampled pairs of a query and one of its hits, and the ways in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from retrieval.embedder import decoded
from retrieval.images import MAX_PIXELS
from retrieval.reasons.erasing import WAYS, Way
from retrieval.reasons.faithfulness import PAIRS, Faithfulness, Pair, measure
from retrieval.reasons.store import StoredOutcome, store_outcome
from retrieval.search import Searcher
from retrieval.spaces import UnsupportedQueryError

_AMONG = 12
"""The hit of a pair is one of so many nearest, drawn at random."""
LEAST = 10
"""Pairs that a share of them means something of."""

Progress = Callable[[str, int, int], None]


def run_test(
    searcher: Searcher,
    name: str,
    pairs: int = PAIRS,
    seed: int = 0,
    progress: Progress = lambda task, done, total: None,
) -> StoredOutcome:
    """Try the ways, the quickest first, until one passes, test that on other pairs, and store all outcomes.

    pairs: of the choice, and as many of the test; fewer where the space has not twice as many images.

    Raises SpaceNameError, DamagedTowerError, a PictureError.
    """
    space = searcher.space(name)
    ids = searcher.collection.ids(space.name)
    if len(ids) < 2 * LEAST:
        return store_outcome(searcher.collection, space.name, (), f"{len(ids)} images are too few to test it on")
    try:
        tower, shuffled = space.spatial_tower(), space.spatial_tower(shuffled=seed)
    except UnsupportedQueryError as error:
        return store_outcome(searcher.collection, space.name, (), str(error))
    sampled = sampled_pairs(searcher, space.name, 2 * pairs, seed)
    choosing, others = sampled[::2], sampled[1::2]

    def outcome(way: Way, of: list[Pair]) -> Faithfulness:
        task = f"{space.name}: {way}{', on other pairs' if of is others else ''}"
        return measure(tower, shuffled, space, way, of, seed, partial(progress, task))

    tried: list[Faithfulness] = []
    for way in WAYS:
        tried.append(outcome(way, choosing))
        if tried[-1].passed:
            tried.append(replace(outcome(way, others), confirms=True))
            break
    return store_outcome(searcher.collection, space.name, tried)


def sampled_pairs(searcher: Searcher, name: str, pairs: int, seed: int) -> list[Pair]:
    """Queries drawn from the images of a space, each with one of its nearest that is no near duplicate of it."""
    space, opened = searcher.space(name), searcher.collection
    random = np.random.default_rng(seed)
    ids = random.permutation(opened.ids(name))[:pairs]
    made = []
    for hits in searcher.search([int(image_id) for image_id in ids], _AMONG, spaces=name, exclude_cluster=True):
        if not len(hits) or hits.query_id is None:
            continue
        hit = hits[int(random.integers(len(hits)))]
        vector = opened.vector(name, hit.id)
        assert vector is not None
        query, other = (
            space.prepare_spatial(decoded(opened.read(image_id), space.draft, MAX_PIXELS))
            for image_id in (hits.query_id, hit.id)
        )
        made.append(Pair(query, other, np.asarray(vector, np.float64)))
    return made
