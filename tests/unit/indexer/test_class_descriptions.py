"""The descriptions of Kvasir's and HyperKvasir's classes."""

from __future__ import annotations

import pytest

from indexer.class_descriptions import descriptions
from retrieval.class_words import ClassWords

KVASIR = (
    "dyed-lifted-polyps dyed-resection-margins esophagitis normal-cecum normal-pylorus normal-z-line polyps "
    "ulcerative-colitis"
)
HYPERKVASIR = (
    "barretts barretts-short-segment bbps-0-1 bbps-2-3 cecum dyed-lifted-polyps dyed-resection-margins esophagitis-a "
    "esophagitis-b-d hemorrhoids ileum impacted-stool polyps pylorus retroflex-rectum retroflex-stomach "
    "ulcerative-colitis-grade-0-1 ulcerative-colitis-grade-1 ulcerative-colitis-grade-1-2 ulcerative-colitis-grade-2 "
    "ulcerative-colitis-grade-2-3 ulcerative-colitis-grade-3 z-line"
)


@pytest.mark.parametrize("classes", [KVASIR.split(), HYPERKVASIR.split()])
def test_every_class_of_the_data_sets_is_described_under_its_own_name(classes: list[str]) -> None:
    described = descriptions(classes)
    assert [name for name in classes if name not in described] == []
    assert all(described[name].names and described[name].text and described[name].caption for name in classes)


def test_the_parts_of_a_class_belong_to_it_where_the_collection_has_no_others() -> None:
    kvasir, hyper = descriptions(KVASIR.split()), descriptions(HYPERKVASIR.split())
    assert "esophagitis-a" not in kvasir
    assert "mild reflux" in kvasir["esophagitis"].names
    assert "mild reflux" not in hyper["esophagitis"].names
    assert "cecal pole" in hyper["cecum"].names
    assert "normal-cecum" not in hyper


@pytest.mark.parametrize(
    ("text", "class_name"),
    [
        ("polyp", "polyps"),
        ("pedunculated adenoma", "polyps"),
        ("injection of blue dye under a polyp", "dyed-lifted-polyps"),
        ("site after polypectomy", "dyed-resection-margins"),
        ("inflamed oesophagus", "esophagitis"),
        ("appendiceal orifice", "normal-cecum"),
        ("gastric outlet", "normal-pylorus"),
        ("Los Angeles grade B", "esophagitis"),
        ("Mayo score 3", "ulcerative-colitis"),
        ("squamocolumnar junction", "normal-z-line"),
        ("inflamed bowel with bleeding", "ulcerative-colitis"),
    ],
)
def test_words_of_endoscopists_are_matched_to_the_class_that_they_mean(text: str, class_name: str) -> None:
    assert next(iter(ClassWords.of(KVASIR.split()).match(text).classes)) == class_name
