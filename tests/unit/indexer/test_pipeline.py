"""A run that fails ends what it started at once."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexer.datasets import open_dataset
from indexer.embedding import Embedded
from indexer.pipeline import Outcome, index_dataset
from retrieval.collection import CollectionWriter


class Machines:
    """Nothing is embedded; `ended` says whether the machines are given back."""

    ended = False

    def embedded(self, *_: Any) -> Generator[Embedded, None, None]:
        try:
            yield []
        finally:
            self.ended = True


def test_machines_are_given_back_before_an_error_goes_on(tmp_path: Path, draw: Callable[..., Image.Image]) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    draw(1).save(tmp_path / "data" / "a" / "1.png")
    machines, reports = Machines(), []

    def report(outcome: Outcome) -> None:
        reports.append(outcome)
        if len(reports) == 2:  # after the first batch
            raise OSError("no space left")

    with open_dataset(tmp_path / "data") as dataset, CollectionWriter(tmp_path / "c", name="t", create=True) as writer:
        with pytest.raises(OSError, match="no space left"):
            index_dataset(dataset, writer, [], on_progress=report, machines=machines)
        assert machines.ended
