from __future__ import annotations

from pathlib import Path

from retrieval.collection import Collection, CollectionWriter
from web.responses import collection_to_dict


def test_a_recipe_names_a_file_of_the_server_without_its_folders(tmp_path: Path) -> None:
    with CollectionWriter(tmp_path / "c", create=True) as writer:
        writer.add_space("s", "encoder", 4, "cosine", {"spec": "timm:vit//home/J Doe/weights.pt", "fit": "squash"})

    (space,) = collection_to_dict(Collection.open(tmp_path / "c"))["spaces"]

    assert space["recipe"] == {"spec": "timm:vit/…/weights.pt", "fit": "squash"}
