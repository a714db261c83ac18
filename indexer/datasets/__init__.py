"""Data sets as files: Kvasir v1 and v2, HyperKvasir, any folder of class folders; from a folder or a zip.

with open_dataset(Path("kvasir-dataset-v2.zip")) as dataset:
    print(dataset.name, *dataset.report.lines())
    data = dataset.read(dataset.items[0])
"""

from __future__ import annotations

from indexer.datasets.dataset import Dataset, Item, chosen_pictures, open_dataset
from indexer.datasets.report import Report

__all__ = ["Dataset", "Item", "Report", "chosen_pictures", "open_dataset"]
