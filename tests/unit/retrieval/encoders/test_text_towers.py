"""The text tower of an open_clip model is read from every layout in which its image tower is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.encoders.parsing import parse_spec
from retrieval.encoders.preprocessing import EncoderOptions
from retrieval.encoders.spec import NoTextTowerError, TextsNotInstalledError
from retrieval.encoders.text import load_text_tower, text_fields
from retrieval.encoders.tokens import ClipTokenizer, open_tokenizer

CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1},
}


def folder_of(path: Path, state: dict[str, Any], config: dict[str, Any] = CONFIG) -> Path:
    import torch

    path.mkdir()
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.save(state, path / "open_clip_pytorch_model.bin")
    return path


def tower_of(place: str) -> Any:
    return load_text_tower(parse_spec(place), EncoderOptions())


def tokens(texts: list[str], context_length: int) -> Any:
    return ClipTokenizer(context_length)(texts)


@pytest.mark.parametrize("layout", ["clip", "custom", "module", "ema"])
@pytest.mark.parametrize("quick", [False, True])
def test_a_tower_is_read_from_every_layout(tmp_path: Path, layout: str, quick: bool) -> None:
    import open_clip
    import torch

    torch.manual_seed(5)
    config = CONFIG | {"quick_gelu": quick}
    model = (open_clip.CustomTextCLIP if layout == "custom" else open_clip.CLIP)(**config).eval()
    state: dict[str, Any] = dict(model.state_dict())
    if layout == "module":
        state = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
    if layout == "ema":
        state = {"model": {name: torch.zeros_like(v) for name, v in state.items()}, "ema_state_dict": state}
    tower = tower_of(f"open_clip:local-dir:{folder_of(tmp_path / 'clip', state, config)}")
    given = tokens(["a polyp", "the z-line"], 16)
    with torch.inference_mode():
        expected = model.encode_text(torch.tensor(given), normalize=True).numpy()
    assert np.allclose(tower.encode(given), expected, atol=1e-6)
    assert tower.context_length == 16
    assert tower.scale == pytest.approx(1 / 0.07, rel=1e-4)


def test_a_local_file_of_a_named_architecture_has_its_text_tower(tmp_path: Path) -> None:
    import open_clip
    import torch

    (tmp_path / "worded-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path / "worded-clip.json")
    model = open_clip.CLIP(**CONFIG).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    tower = tower_of(f"open_clip:worded-clip/{tmp_path / 'w.pt'}")
    given = tokens(["polyp"], 16)
    with torch.inference_mode():
        assert np.allclose(tower.encode(given), model.encode_text(torch.tensor(given), normalize=True), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ({"vocab_size": 64}, "a tokenizer other than CLIP's, of 64 tokens, which its configuration does not name"),
        ({"hf_tokenizer_name": "t", "tokenizer_mode": "clips"}, "tokens are arranged as 'clips', which is not"),
        (
            {"hf_tokenizer_name": "org/siglip"},
            "the tokenizer org/siglip is not on this machine; put its tokenizer.json and settings into",
        ),
    ],
)
def test_other_tokenizers_are_told(tmp_path: Path, text: Any, reason: str) -> None:
    if "hf_tokenizer_name" in text:
        pytest.importorskip("transformers", reason="the extra texts is not installed")
    folder = folder_of(tmp_path / "clip", {"logit_scale": None}, CONFIG | {"text_cfg": CONFIG["text_cfg"] | text})
    with pytest.raises(NoTextTowerError) as told:
        tower_of(f"open_clip:local-dir:{folder}")
    assert reason in str(told.value)


def test_weights_of_an_image_tower_alone_have_no_text_tower(tmp_path: Path) -> None:
    import open_clip

    visual = open_clip.CLIP(**CONFIG).visual.state_dict()
    folder = folder_of(tmp_path / "clip", {f"visual.{name}": value for name, value in visual.items()})
    with pytest.raises(NoTextTowerError, match="its weights have no text tower"):
        tower_of(f"open_clip:local-dir:{folder}")
    with pytest.raises(NoTextTowerError, match="only encoders of open_clip"):
        tower_of("timm:test_vit")


def test_a_long_text_is_cut_and_keeps_its_end_mark() -> None:
    long = tokens(["polyp " * 100], 16)
    assert long.shape == (1, 16)
    assert long[0, -1] == 49407


WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "an",
    "polyp",
    "##s",
    "image",
    "of",
    "the",
    "z",
    "-",
    "line",
]


def save_tokenizer(folder: Path, kind: str) -> None:
    """A small tokenizer in the files of its kind: BERT's word pieces, or SigLIP's, which ends a text by </s>."""
    tokenizers = pytest.importorskip("tokenizers", reason="the extra texts is not installed")
    if kind == "bert":
        made = tokenizers.Tokenizer(
            tokenizers.models.WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]")
        )
        made.normalizer = tokenizers.normalizers.BertNormalizer()
        made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    else:
        pieces = [
            ("<unk>", 0.0),
            ("</s>", 0.0),
            ("▁", -2.0),
            ("▁polyp", -3.0),
            *((letter, -9.0) for letter in "aefgilmnopsyz"),
        ]
        made = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=0))
        made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
        made.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
        special = {"pad_token": "</s>", "unk_token": "<unk>", "eos_token": "</s>"}
    made.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


BERT = {"hf_model_name": "org/bert", "hf_tokenizer_name": "org/bert", "hf_proj_type": "mlp", "context_length": 20}
SIGLIP = CONFIG["text_cfg"] | {
    "vocab_size": 17,
    "hf_tokenizer_name": "org/siglip",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
}


@pytest.mark.parametrize("kind", ["bert", "siglip"])
def test_a_tower_with_another_tokenizer_is_stored_with_it(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra texts is not installed")
    import open_clip
    import torch

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "clip"
    text = BERT | {"hf_pooler_type": "cls_last_hidden_state_pooler"} if kind == "bert" else SIGLIP
    settings = tmp_path / "settings"
    described = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    described.save_pretrained(settings)
    torch.manual_seed(5)
    own = text | ({"hf_model_name": str(settings), "hf_model_pretrained": False} if kind == "bert" else {})
    model = open_clip.CustomTextCLIP(**CONFIG | {"text_cfg": own}).eval()
    folder_of(folder, dict(model.state_dict()), CONFIG | {"text_cfg": text})
    save_tokenizer(folder, kind)
    place = f"open_clip:local-dir:{folder}"
    if kind == "bert":
        with pytest.raises(NoTextTowerError, match=r"is a org/bert, whose config.json .* put that file into"):
            tower_of(place)
        (folder / "config.json").write_bytes((settings / "config.json").read_bytes())
    texts = ["A polyp!", "the Z-line of an image of polyps, and many more words than fit " * 3]
    expected = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    stored = text_fields(parse_spec(place), EncoderOptions(), tmp_path / "stored")
    assert stored["tokenizer"] == "tokenizer.json"
    tokenizer = open_tokenizer(tmp_path / "stored", stored)
    assert tokenizer(texts).tolist() == expected.tolist()
    assert expected.shape[1] == stored["context_length"] == text["context_length"]
    with torch.inference_mode():
        embedded = model.encode_text(expected, normalize=True).numpy()
    assert np.allclose(tower_of(place).encode(tokenizer(texts)), embedded, atol=1e-5)
    assert "converted" in stored


def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.encoders.open_clip.find_spec", lambda name: None)
    folder = folder_of(tmp_path / "clip", {"logit_scale": None}, CONFIG | {"text_cfg": BERT})
    with pytest.raises(TextsNotInstalledError, match=r"org/bert; pip install 'kvasir-retrieval\[texts\]'"):
        tower_of(f"open_clip:local-dir:{folder}")
