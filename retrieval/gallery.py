"""The images that a search runs over, counted in all and by class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Images
from retrieval.filters import Selection, among


@dataclass(frozen=True, eq=False)
class Gallery:
    """The ids (m,) ascending int64 of the images of a collection that can be hits."""

    images: Images
    ids: NDArray[np.int64]

    def restricted_to(self, selection: Selection | None) -> Gallery:
        """The images that a selection admits."""
        if selection is None or selection.is_everything:
            return self
        chosen = selection.ids
        return Gallery(self.images, chosen if self._is_everything else chosen[among(chosen, self.ids)])

    def count(self, left_out: NDArray[np.int64]) -> int:
        """How many are searched by a query that leaves some out."""
        if not len(left_out):
            return len(self.ids)
        return len(self.ids) - int(np.count_nonzero(among(left_out, self.ids)))

    def count_of(self, class_name: str, left_out: NDArray[np.int64]) -> int:
        """How many of those are of a class."""
        if class_name not in self.images.classes:
            return 0
        label = self.images.classes.index(class_name)
        out = left_out[among(left_out, self.ids)]
        labels = self.images.taken("labels", self.images.places(out))
        return int(self._label_counts[label + 1]) - int(np.count_nonzero(labels == label))

    @property
    def _is_everything(self) -> bool:
        return self.ids is self.images.ids

    @cached_property
    def _label_counts(self) -> NDArray[np.int64]:
        if self._is_everything:
            return self.images.label_counts
        labels = self.images.taken("labels", self.images.places(self.ids))
        return np.bincount(labels + 1, minlength=len(self.images.classes) + 1)
