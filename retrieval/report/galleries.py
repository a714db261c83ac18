"""The galleries of a report: examples of a space with their neighbours, as rows of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retrieval.evaluation.space_result import SpaceResult
from retrieval.report.document import QueryRow, ShownImage
from retrieval.report.examples import Example

NEIGHBOURS = 6
"""Neighbours that are shown of each query."""


def query_rows(space: SpaceResult, examples: Sequence[Example], labels: Mapping[int, int]) -> tuple[QueryRow, ...]:
    """Each query and its first neighbours, marked by whether they have its class. labels: class of every image id."""
    row_of = {int(image): row for row, image in enumerate(space.ids)}
    rows = []
    for example in examples:
        row = row_of[example.image]
        label = int(space.labels[row])
        suspected = f", rather {space.shown_names[example.suspected]}?" if example.suspected >= 0 else ""
        caption = f"{space.shown_names[label]}{suspected} (AP {space.measures['mAP'][row]:.3f})"
        neighbours = [int(image) for image in space.neighbours[row, :NEIGHBOURS] if image >= 0]
        rows.append(
            QueryRow(
                ShownImage(example.image, caption, "query"),
                tuple(
                    ShownImage(
                        image, _class_name(space, labels, image), "right" if labels.get(image) == label else "wrong"
                    )
                    for image in neighbours
                ),
            )
        )
    return tuple(rows)


def hub_row(space: SpaceResult, examples: Sequence[Example], labels: Mapping[int, int]) -> tuple[ShownImage, ...]:
    """Images with how often they are near a query of another class."""
    return tuple(
        ShownImage(example.image, f"{_class_name(space, labels, example.image)}, {example.strength:.0f} times", "wrong")
        for example in examples
    )


def _class_name(space: SpaceResult, labels: Mapping[int, int], image: int) -> str:
    label = labels.get(image, -1)
    return space.shown_names[label] if label >= 0 else "unlabelled"
