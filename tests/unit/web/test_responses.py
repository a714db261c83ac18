from __future__ import annotations

from pathlib import Path

from retrieval.collection import Collection, CollectionWriter
from web.app import create_app
from web.context import Settings
from web.responses import collection_to_dict


def test_a_recipe_names_a_file_of_the_server_without_its_folders(tmp_path: Path) -> None:
    with CollectionWriter(tmp_path / "c", create=True) as writer:
        writer.add_space("s", "encoder", 4, "cosine", {"spec": "timm:vit//home/J Doe/weights.pt", "fit": "squash"})

    (space,) = collection_to_dict(Collection.open(tmp_path / "c"))["spaces"]

    assert space["recipe"] == {"spec": "timm:vit/…/weights.pt", "fit": "squash"}


def test_files_in_lists_and_tables_of_a_recipe_are_named_without_their_folders(tmp_path: Path) -> None:
    imported = [{"vectors": "/home/J Doe/a.npy", "sha256": "ab", "rows": 3}, {"vectors": ["b.npy", "/srv/c.npy"]}]
    with CollectionWriter(tmp_path / "c", create=True) as writer:
        writer.add_space("s", "imported", 4, "cosine", {"imported": imported})

    (space,) = collection_to_dict(Collection.open(tmp_path / "c"))["spaces"]

    assert space["recipe"]["imported"] == [
        {"vectors": "/…/a.npy", "sha256": "ab", "rows": 3},
        {"vectors": ["b.npy", "/…/c.npy"]},
    ]


def test_the_page_tells_where_vectors_come_from_without_folders(tmp_path: Path) -> None:
    imported = [{"vectors": f"/home/J Doe/{name}.npy", "sha256": "ab", "rows": 3} for name in "ac"]
    with CollectionWriter(tmp_path / "c", create=True) as writer:
        writer.add_space("s", "imported", 4, "cosine", {"imported": imported})
    page = create_app(Settings(tmp_path / "c"), background=False).test_client().get("/collection/").text
    assert "Its vectors are imported from /…/c.npy" in page
    assert "J Doe" not in page
