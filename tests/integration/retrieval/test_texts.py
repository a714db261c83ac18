"""Text towers of open_clip encoders: converted like the image tower, and searched by text, alone or with pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.collection import Collection, tower_folder
from retrieval.encoders.runtime import DamagedTowerError
from retrieval.encoders.text import TEMPLATES, TEXT_MODEL
from retrieval.feedback import Feedback
from retrieval.feedback.logistic import PRIOR
from retrieval.feedback.rocchio import IRRELEVANT, RELEVANT
from retrieval.fusion import METHODS
from retrieval.query import Part, Query
from retrieval.search import Searcher, open_collection
from retrieval.spaces import open_space
from retrieval.spaces.encoder import EncoderSpace

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained CLIP with CLIP's whole vocabulary, in the folder form that open_clip reads."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip") / "texts"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    torch.manual_seed(3)
    save_file(open_clip.CLIP(**CONFIG).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def collection(
    tmp_path_factory: pytest.TempPathFactory, gallery_folder: Path, clip_folder: Path, index_folder: Callable[..., Path]
) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.collection"
    return index_folder(gallery_folder, path, f"open_clip:local-dir:{clip_folder}")


@pytest.fixture(scope="module")
def engine(collection: Path) -> Searcher:
    return open_collection(collection)


def expected(folder: Path, text: str) -> np.ndarray:
    """The embedding of a text as open_clip itself computes it, averaged over the prompts."""
    import open_clip
    import torch
    from safetensors.torch import load_file

    model = open_clip.CLIP(**CONFIG).eval()
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    tokens = open_clip.tokenizer.SimpleTokenizer(context_length=24)([template.format(text) for template in TEMPLATES])
    with torch.inference_mode():
        mean = model.encode_text(tokens, normalize=True).numpy().mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_a_text_has_the_embedding_that_open_clip_gives_it(engine: Searcher, clip_folder: Path) -> None:
    space = engine.space(engine.text_spaces()[0])
    texts = ["a polyp", "the z-line in a dark picture with very many words " * 3]
    made = space.embed_texts(texts)
    for text, vector in zip(texts, made, strict=True):
        assert vector @ expected(clip_folder, text) > 0.9999
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    stored = space.definition.recipe["text"]
    assert (tower_folder(engine.collection.path, space.name) / TEXT_MODEL).is_file()
    assert stored["context_length"] == 24
    assert stored["scale"] == pytest.approx(1 / 0.07, rel=1e-4)


def test_images_are_ranked_by_their_cosine_to_the_text(engine: Searcher) -> None:
    hits = engine.search(Part(text="zebra"), 30)
    (name,) = engine.text_spaces()
    ids, vectors = engine.vectors(name)
    scores = vectors @ engine.space(name).embed_texts(["zebra"])[0]
    order = np.lexsort((ids, -scores))
    assert [hit.score for hit in hits] == pytest.approx(scores[order].tolist(), abs=1e-5)
    assert (hits.text_matches, hits.score_kind) == ((), "text similarity")


def test_kinds_are_brought_to_one_scale_by_the_collections_background(engine: Searcher) -> None:
    (name,) = engine.text_spaces()
    query = Query((Part(image_id=3), Part(text="a polyp", weight=0.5)))
    hits = engine.search(query, 30, exclude_self=False)
    ids, vectors = engine.vectors(name)
    rows = vectors.astype(np.float64)
    cosines = rows @ rows.T
    pairs = cosines[np.triu_indices(len(ids), 1)]
    captions = [one.caption for one in engine._embedder.class_words.descriptions.values()]
    of_texts = rows @ engine.space(name).embed_texts(captions).T
    text = rows @ engine.space(name).embed_texts(["a polyp"])[0]
    standard = (cosines[ids.tolist().index(3)] - pairs.mean()) / pairs.std() + 0.5 * (
        text - of_texts.mean()
    ) / of_texts.std()
    by_id = dict(zip(ids.tolist(), standard.tolist(), strict=True))
    ranked = [by_id[hit.id] for hit in hits]
    assert ranked == pytest.approx(sorted(ranked, reverse=True), abs=1e-4)
    assert (engine.collection.path / "statistics" / f"{name}.texts.json").is_file()


@pytest.fixture(scope="module")
def fused(collection: Path, gallery_folder: Path, index_folder: Callable[..., Path], tmp_path_factory: Any) -> Searcher:
    """The collection with a space that has no text encoder."""
    copy = shutil.copytree(collection, tmp_path_factory.mktemp("fused") / "fused.collection")
    return open_collection(index_folder(gallery_folder, copy, descriptors="ColorLayout"))


def similarities(engine: Searcher, name: str, *texts: str) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    """Ids, cosines of the images with each other, with captions of the classes, and with texts (n, t)."""
    ids, vectors = engine.vectors(name)
    rows, embed = vectors.astype(np.float64), engine.space(name).embed_texts
    captions = [one.caption for one in engine._embedder.class_words.descriptions.values()]
    return ids.tolist(), rows @ rows.T, rows @ embed(captions).T, rows @ embed(texts).T


@pytest.mark.parametrize("fusion", ["zscore", "minmax"])
def test_texts_are_fused_by_the_background_of_texts(fused: Searcher, fusion: str) -> None:
    (name,) = fused.text_spaces()
    ids, images, captions, texts = similarities(fused, name, "polyp", "a z-line")
    pairs = images[np.triu_indices(len(ids), 1)]

    def scaled(scores: Any, background: np.ndarray, greatest: float) -> Any:
        if fusion == "zscore":
            return (scores - background.mean()) / background.std()
        return (scores - background.min()) / (greatest - background.min())

    alone = scaled(texts[:, 0], captions, captions.max())
    other = fused.backgrounds.of_images("ColorLayout")
    for hit in fused.search(Part(text="polyp"), 30, spaces=[name, "ColorLayout"], fusion=fusion):
        similar = float(fused.metric("ColorLayout").scores(np.array([hit.distances["ColorLayout"]]))[0])
        low, width = (other.mean, other.deviation) if fusion == "zscore" else (other.minimum, 1 - other.minimum)
        assert hit.score == pytest.approx((alone[ids.index(hit.id)] + (similar - low) / width) / 2, abs=1e-4)
    if fusion == "zscore":
        query = Query((Part(image_id=3), Part(text="polyp", weight=0.5), Part(text="a z-line", weight=-0.25)))
        standard = [scaled(scores, captions, 1) for scores in texts.T]
        mixed = (scaled(images[3], pairs, 1) + 0.5 * standard[0] - 0.25 * standard[1]) / 1.5
        search = fused._space_search(name)
        made = fused.embed(query, [name])
        ids_of = np.array(ids)
        listed = search.scored_list([made], [(ids_of, search.distances(made.vectors[name], ids_of))],
                                    *fused.backgrounds.of_queries(name, [made]))  # fmt: skip
        assert ids[3] == 3
        fused_scores = METHODS[fusion].points(1.0, listed.scores, listed.statistics)
        assert fused_scores[0] == pytest.approx(mixed, abs=1e-4)


def test_marks_and_texts_weigh_by_the_spread_of_their_kind(engine: Searcher) -> None:
    (name,) = engine.text_spaces()
    ids, images, captions, texts = similarities(engine, name, "polyp")
    spread, of_texts = images[np.triu_indices(len(ids), 1)].std(), captions.std()
    by_hand = texts[:, 0] / of_texts + (RELEVANT * images[4] - IRRELEVANT / 2 * (images[1] + images[2])) / spread
    hits = engine.refine(Part(text="polyp"), relevant=[4], irrelevant=[1, 2], k=30)
    ranked = [by_hand[ids.index(hit.id)] for hit in hits]
    assert ranked == pytest.approx(sorted(ranked, reverse=True), abs=1e-3)
    feedback = Feedback((4, 5, 6), (1, 2, 3))
    made = engine.embed(Part(text="polyp"), [name], feedback=feedback).vectors[name]
    assert made.weights[0] == pytest.approx(PRIOR / of_texts, rel=1e-4)  # the regression is among images alone
    assert made.texts is not None
    assert made.texts.tolist() == [True] + [False] * 6
    assert (np.sign(made.weights) == [1, 1, 1, 1, -1, -1, -1]).all()


@pytest.mark.parametrize("parts", [(Part(text="polyp"),), (Part(text="polyp"), Part(image_id=3, weight=0.5))])
def test_diversity_weighs_against_texts_by_the_spread_of_each(engine: Searcher, parts: tuple[Part, ...]) -> None:
    (name,) = engine.text_spaces()
    ids, images, captions, texts = similarities(engine, name, "polyp")
    spread = images[np.triu_indices(len(ids), 1)].std()
    relevance = texts[:, 0] / captions.std() * spread
    if len(parts) > 1:
        relevance = (relevance + 0.5 * images[3]) / 1.5
    hits = engine.search(Query(parts), 8, rerank="mmr:0.6", exclude_self=False)
    chosen: list[int] = []
    for hit in hits:
        penalty = images[chosen].max(axis=0).clip(0) if chosen else np.zeros(len(ids))
        marginal = 0.6 * relevance - 0.4 * penalty
        marginal[chosen] = -np.inf
        assert marginal[ids.index(hit.id)] == pytest.approx(marginal.max(), abs=1e-4)
        chosen.append(ids.index(hit.id))


def test_a_negative_text_pushes_images_like_it_away(engine: Searcher) -> None:
    (name,) = engine.text_spaces()
    plain = engine.search(Part(image_id=3), 25)
    away = engine.search(Query((Part(image_id=3), Part(text="a polyp", weight=-0.9))), 25)
    text = engine.space(name).embed_texts(["a polyp"])[0]
    ids, vectors = engine.vectors(name)
    near = {int(i): float(v @ text) for i, v in zip(ids, vectors, strict=True)}
    assert np.mean([near[i] for i in away.ids[:5]]) < np.mean([near[i] for i in plain.ids[:5]])


def test_without_its_converted_form_a_text_tower_runs_from_its_weights(collection: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(collection, tmp_path / "copy.collection"))
    (name,) = open_collection(copy).text_spaces()
    before = open_collection(copy).space(name).embed_texts(["a polyp"])
    model = tower_folder(copy, name) / TEXT_MODEL
    damaged = model.with_suffix(".bin")
    data = bytearray(damaged.read_bytes())
    data[1000] ^= 1
    damaged.write_bytes(data)
    assert open_collection(copy).space(name).fault() == "its converted text encoder is damaged"
    with pytest.raises(DamagedTowerError, match="kvasir verify --repair"):
        open_collection(copy).space(name).embed_texts(["a polyp"])
    model.unlink()
    assert open_collection(copy).space(name).fault() == "its converted text encoder is missing"
    after = open_collection(copy).space(name).embed_texts(["a polyp"])
    assert float((before * after).sum()) > 0.9999


def test_an_encoder_whose_tokens_are_not_clips_has_no_text_encoder(
    gallery_folder: Path, tiny_clip: Any, index_folder: Callable[..., Path], tmp_path: Path
) -> None:
    path = index_folder(gallery_folder, tmp_path / "c.collection", f"open_clip:local-dir:{tiny_clip.folder}")
    engine = open_collection(path)
    assert engine.text_spaces() == []
    assert Collection.open(path).spaces[0].recipe.get("text") is None
    assert engine.search(Part(text="polyp"), 3).text_matches[0].classes == {"polyps": 1.0}


def test_a_picture_has_shares_of_the_classes_by_their_captions(engine: Searcher) -> None:
    (name,) = engine.text_spaces()
    space = engine.space(name)
    picture = engine.collection.read(3)
    hits = engine.search(picture, 2)
    classes = engine.collection.classes
    captions = [engine._embedder.class_words.descriptions[each].caption for each in classes]
    vector = engine.embed(picture, [name]).vectors[name].vectors[0]
    cosines = space.embed_texts(captions).astype(np.float64) @ vector.astype(np.float64)
    odds = np.exp(space.definition.recipe["text"]["scale"] * cosines)
    assert hits.zero_shot == pytest.approx(dict(zip(classes, odds / odds.sum(), strict=True)), abs=1e-6)
    shares = list(hits.zero_shot.values())
    assert shares == sorted(shares, reverse=True)
    assert hits.to_dict()["zero_shot"] == hits.zero_shot
    assert engine.search(3, 2).zero_shot == pytest.approx(hits.zero_shot, abs=1e-4)
    assert engine.search(Part(text="polyp"), 2).zero_shot is None
    assert engine.search(Query((Part(image_id=3), Part(picture=picture))), 2).zero_shot is None


def test_a_search_by_vector_needs_no_text_encoder(collection: Path) -> None:
    engine = open_collection(collection)
    (name,) = engine.text_spaces()
    space = engine.space(name)
    assert isinstance(space, EncoderSpace)
    assert engine.search(engine.vectors(name)[1][3], 2).zero_shot is None
    assert "_run" not in vars(space._texts)
    space.warm_up()
    assert "_run" in vars(space._texts)
    indexing = open_space(collection, space.definition, "indexing")
    assert isinstance(indexing, EncoderSpace)
    indexing.warm_up()
    assert "_run" not in vars(indexing._texts)


def test_a_damaged_text_encoder_does_not_keep_pictures_from_loading(collection: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(collection, tmp_path / "copy.collection"))
    engine = open_collection(copy)
    (name,) = engine.text_spaces()
    (tower_folder(copy, name) / TEXT_MODEL).with_suffix(".bin").write_bytes(b"damaged")
    engine.space(name).warm_up()
    assert engine.search(engine.collection.read(3), 2).zero_shot is None


def test_more_texts_than_are_remembered_are_embedded_in_one_call(
    engine: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = engine.space(engine.text_spaces()[0])
    texts = ["polyp", "cecum", "z-line", "polyp", "pylorus"]
    expected = np.stack([space.embed_texts([text])[0] for text in texts])
    monkeypatch.setattr("retrieval.encoders.text._CACHED", 2)
    assert np.allclose(space.embed_texts(texts), expected, atol=1e-6)
    assert isinstance(space, EncoderSpace)
    assert len(space._texts._cache) == 2
    assert np.allclose(space.embed_texts(texts), expected, atol=1e-6)


def test_the_command_line_rest_and_the_page_show_shares_and_search_by_text(collection: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from indexer.commands.search import command
    from web.app import create_app
    from web.context import Settings

    opened = Collection.open(collection)
    picture = tmp_path / "query.jpg"
    picture.write_bytes(opened.read(3))
    printed = CliRunner().invoke(command, [str(picture), str(collection)]).output
    assert "classes by words alone: " in printed
    assert "classes by words alone: " in CliRunner().invoke(command, ["3", str(collection)]).output
    by_text = CliRunner().invoke(command, ["--text", "zebra", str(collection)]).output
    assert "was matched" not in by_text
    assert "texts" in by_text
    client = create_app(Settings(collection), background=False).test_client()
    assert len(client.post("/api/v1/search", json={"image_id": 3}).json["zero_shot"]) == len(opened.classes)
    answer = client.post("/api/v1/search", data={"image": (BytesIO(picture.read_bytes()), "query.jpg")}).json
    assert {one["class"] for one in answer["zero_shot"]} == set(Collection.open(collection).classes)
    assert sum(one["share"] for one in answer["zero_shot"]) == pytest.approx(1)
    text = client.post("/api/v1/search", json={"query": [{"text": "zebra"}]}).json
    assert (text["text_matches"], text["zero_shot"], len(text["hits"])) == ([], None, 10)
    sent = client.post("/search", data={"picture": (BytesIO(picture.read_bytes()), "query.jpg")})
    assert "By words alone" in client.get(sent.headers["Location"]).text
    assert "By words alone" in client.get("/results?image=3").text
    page = client.get("/results?text=zebra").text
    assert "Similarity to the words" in page
    assert "1 for equal pictures" not in page
    assert "data-text-match" not in page
    assert "data-said" in page
