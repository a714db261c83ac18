"""Queries in the words of the API, as its documentation shows them."""

from __future__ import annotations

import json

_PICTURE = "<base64>"

_EXAMPLES: tuple[tuple[str, dict[str, object]], ...] = (
    ("An image of the collection", {"image_id": 5, "k": 12}),
    ("A part of a picture: left, top, width and height as fractions of it", {
        "query": [{"image": _PICTURE, "region": [0.2, 0.2, 0.5, 0.5]}],
    }),
    ("Several pictures together, of which the second counts half", {
        "query": [{"image_id": 5}, {"image": _PICTURE, "weight": 0.5}],
    }),
    ("Like one image and unlike another", {"query": [{"image_id": 5}, {"image_id": 17, "weight": -0.5}]}),
    ("Words, with a picture or alone", {"query": [{"text": "pedunculated polyp"}, {"image_id": 5, "weight": 0.5}]}),
    ("A vector of one space", {"query": [{"vector": [0.1, 0.2, 0.3], "space": "NAME"}]}),
    ("Hits that fit and that do not, and only images not shown yet", {
        "image_id": 5, "relevant": [12, 21], "irrelevant": [7], "exclude_ids": [12, 21, 7],
    }),
)  # fmt: skip


def query_examples() -> list[tuple[str, str]]:
    """What each query is, in words, and its body of JSON for `POST /search`."""
    return [(words, json.dumps(body)) for words, body in _EXAMPLES]
