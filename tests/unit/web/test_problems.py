from __future__ import annotations

from pathlib import Path

import pytest

from web.problems import without_server_paths

NAMES = {
    Path("/data/ward 3"): "ward 3",
    Path("/data/ward 3/kvasir.collection"): "kvasir",
    Path("/data/ward 3/kvasir.collection/pictures"): "pictures",
    Path("/mnt/kvasir.zip"): "kvasir.zip",
    Path("/"): "",
    Path("s3://hospital/ward 4"): "ward 4",
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the collection /data/ward 3/kvasir.collection has no image 7", "the collection kvasir has no image 7"),
        ("/data/ward 3 cannot be opened", "ward 3 cannot be opened"),
        ("polyps/a.jpg is not in /mnt/kvasir.zip", "polyps/a.jpg is not in kvasir.zip"),
        ("cannot write /data/ward 3/kvasir.collection/index/x.faiss", "cannot write kvasir/index/x.faiss"),
        ("/data/ward 3/kvasir.collection/pictures/a.jpg: gone", "pictures/a.jpg: gone"),
        ("a.jpg is no longer in s3://hospital/ward 4 (gone)", "a.jpg is no longer in ward 4 (gone)"),
        ("a.jpg is no longer in s3:/hospital/ward 4 (gone)", "a.jpg is no longer in ward 4 (gone)"),
        # Beside what is known, and elsewhere
        ("cannot write /data/other.lock (No space left)", "cannot write …/other.lock (No space left)"),
        ("'/home/jdoe/weights/vit.pt' is missing", "'…/vit.pt' is missing"),
        ("/data/ward 3/kvasir.collection-2/x.npy", "ward 3/kvasir.collection-2/x.npy"),
        ("/data/ward 31/x.npy", "…/x.npy"),
        ("/data/ward 3 old/x.npy", "…/x.npy"),
        ("/mnt/kvasir.zip.old/x.jpg is gone", "…/x.jpg is gone"),
        ("it is in /mnt/kvasir.zip. Put it back", "it is in kvasir.zip. Put it back"),
        ("/srv/other dir/secret/x.jpg: cannot be read", "…/x.jpg: cannot be read"),
        ("'/home/J Doe/my own pictures/a b.jpg'", "'…/a b.jpg'"),
        ("/srv/médecine 2/D/a.jpg is gone", "…/a.jpg is gone"),
        ("/home/jdoe/a.jpg or polyps/b.jpg", "…/a.jpg or polyps/b.jpg"),
        ("/home/jdoe/c: polyps/b.jpg", "…/c: polyps/b.jpg"),
        ("file:///home/J Doe/x.jpg", "file://…/x.jpg"),
        (r"C:\Program Files\secret\a.jpg is gone", "…/a.jpg is gone"),
        (r"C:\Users\jdoe\a.jpg is gone", "…/a.jpg is gone"),
        # No paths at all
        ("send image/* or application/json", "send image/* or application/json"),
        ("10/second or 600/minute", "10/second or 600/minute"),
        ("left + width <= 1 / 2", "left + width <= 1 / 2"),
    ],
)
def test_a_text_for_clients_has_no_folder_of_the_server(text: str, shown: str) -> None:
    assert without_server_paths(text, NAMES) == shown


def test_a_linked_folder_is_known_by_both_of_its_paths(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    names = {tmp_path / "link": "c"}
    assert without_server_paths(f"{tmp_path}/secret/x and {tmp_path}/link/x", names) == "c/x and c/x"
