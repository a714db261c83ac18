"""The official data sets: classes, numbers of pictures, archives and terms; and how one is recognised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KVASIR_CLASSES = (
    "dyed-lifted-polyps",
    "dyed-resection-margins",
    "esophagitis",
    "normal-cecum",
    "normal-pylorus",
    "normal-z-line",
    "polyps",
    "ulcerative-colitis",
)
KVASIR_V1 = dict.fromkeys(KVASIR_CLASSES, 500)
KVASIR_V2 = dict.fromkeys(KVASIR_CLASSES, 1000)

HYPERKVASIR = {
    "barretts": 41,
    "barretts-short-segment": 53,
    "bbps-0-1": 646,
    "bbps-2-3": 1148,
    "cecum": 1009,
    "dyed-lifted-polyps": 1002,
    "dyed-resection-margins": 989,
    "esophagitis-a": 403,
    "esophagitis-b-d": 260,
    "hemorrhoids": 6,
    "ileum": 9,
    "impacted-stool": 131,
    "polyps": 1028,
    "pylorus": 999,
    "retroflex-rectum": 391,
    "retroflex-stomach": 764,
    "ulcerative-colitis-grade-0-1": 35,
    "ulcerative-colitis-grade-1": 201,
    "ulcerative-colitis-grade-1-2": 11,
    "ulcerative-colitis-grade-2": 443,
    "ulcerative-colitis-grade-2-3": 28,
    "ulcerative-colitis-grade-3": 133,
    "z-line": 932,
}
"""Labelled images: 10,662 in 23 classes (Borgli et al., Scientific Data 7:283, 2020)."""

DRAWN = "drawn-"
"""How the names of drawn pictures begin (indexer.sample), so that a stand-in is never taken for Kvasir."""

KVASIR_SITE = "https://datasets.simula.no/downloads/kvasir/"
KVASIR_ARCHIVES = {
    "v1": ("kvasir-dataset.zip", "kvasir-dataset-features.zip"),
    "v2": ("kvasir-dataset-v2.zip", "kvasir-dataset-v2-features.zip"),
}
"""Version -> (archive of the images, archive of their `.features`)."""

KVASIR_TERMS = "Kvasir may be used for research and education only; other use needs its owners' written consent."
KVASIR_CITATION = (
    "Konstantin Pogorelov, Kristin Ranheim Randel, Carsten Griwodz, Sigrun Losada Eskeland, Thomas de Lange, "
    "Dag Johansen, Concetto Spampinato, Duc-Tien Dang-Nguyen, Mathias Lux, Peter Thelin Schmidt, "
    "Michael Riegler, Pål Halvorsen. KVASIR: A Multi-Class Image Dataset for Computer Aided "
    "Gastrointestinal Disease Detection. "
    "Proceedings of the 8th ACM Multimedia Systems Conference (MMSys'17), pages 164-169, 2017. "
    "https://doi.org/10.1145/3083187.3083212"
)


@dataclass(frozen=True)
class Recognised:
    """A data set's name, and how many pictures each class has officially (None where nobody says)."""

    name: str
    expected: Mapping[str, int] | None = None
    note: str | None = None


DRAWN_SAMPLE = Recognised("drawn sample", note="these pictures are drawn by a program, not endoscopy")
"""What pictures are called whose names all begin with `DRAWN`."""


def recognise(counts: Mapping[str, int]) -> Recognised:
    """Name a data set by its classes and their numbers of pictures.

    One counts as an official set, partial or not, when half of the official classes are there and half
    of its own classes are official. Both versions of Kvasir have the same classes, v1's pictures are
    among v2's, and v1 has 500 a class: more than that is v2, 500 in every class is v1, fewer may be
    either.
    """
    if not counts:
        return Recognised("unlabelled pictures")
    if _alike(counts, HYPERKVASIR):
        return Recognised("HyperKvasir", HYPERKVASIR)
    if not _alike(counts, KVASIR_V2):
        return Recognised("folder of classes")
    own = {name: counts.get(name, 0) for name in KVASIR_CLASSES}
    if max(own.values()) > 500:
        return Recognised("Kvasir v2", KVASIR_V2)
    if own == KVASIR_V1:
        return Recognised("Kvasir v1", KVASIR_V1)
    note = "too few pictures to tell Kvasir v1 from v2; compared with v2, which contains v1"
    return Recognised("Kvasir (v1 or v2, partial)", KVASIR_V2, note)


def _alike(counts: Mapping[str, int], official: Mapping[str, int]) -> bool:
    return 2 * len(counts.keys() & official.keys()) >= max(len(counts), len(official))
