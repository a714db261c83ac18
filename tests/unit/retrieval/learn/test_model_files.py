from __future__ import annotations

from pathlib import Path

from retrieval.learn.model_files import delete_models_but, model_path


def test_deleting_the_models_of_a_space_spares_those_of_spaces_whose_names_begin_alike(tmp_path: Path) -> None:
    (tmp_path / "learned").mkdir()
    digests = ["0" * 64, "1" * 64, "2" * 64]
    of_others = [model_path(tmp_path, name, digests[1]) for name in ("vit.in1k", "vit-multi", "my.vit")]
    mine = [model_path(tmp_path, "vit", digest) for digest in digests]
    earlier = tmp_path / "learned" / "vit.npz"
    for path in (*of_others, *mine, earlier):
        path.write_bytes(b"a model")
    delete_models_but(tmp_path, "vit", {digests[2]})
    assert sorted((tmp_path / "learned").iterdir()) == sorted([*of_others, mine[2]])
