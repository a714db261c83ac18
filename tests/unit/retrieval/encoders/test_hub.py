"""Published weights come from the cache of the hub on disk, or are told missing within seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from retrieval.encoders import EncoderSpecError, WeightsNotFoundError, parse_spec
from retrieval.encoders.hub import hub_file, hub_reachable
from retrieval.encoders.spec import EncoderSpec

ROOT = Path(__file__).resolve().parents[4]
State = dict[str, torch.Tensor]


def cached(home: Path, repository: str, **files: State | dict[str, Any]) -> None:
    """Put files into the hub's cache as its client does."""
    folder = home / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123abcd")
    for name, content in files.items():
        if name == "weights":
            save_file(content, snapshot / "model.safetensors")  # type: ignore[arg-type]
        else:
            (snapshot / f"{name}.json").write_text(json.dumps(content))


def offline(home: Path, script: str) -> str:
    """What a script prints in a process without a network and with this cache."""
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"HF_ENDPOINT": "http://no.such.host.invalid", "HF_HOME": str(home), "HF_HUB_OFFLINE": ""},
        timeout=60,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


SCRIPT = """
import os
from retrieval.encoders import build_tower
before = dict(os.environ)
recipe = build_tower({spec!r}).recipe
print(recipe.weights, recipe.preprocessing, os.environ == before)
"""


@pytest.mark.slow
def test_a_tag_is_loaded_from_the_cache_without_a_network(
    build: Callable[..., Any], resnet_state: State, tmp_path: Path
) -> None:
    cached(tmp_path, "timm/test_resnet.r160_in1k", weights=resnet_state)
    weights = build("timm:test_resnet", resnet_state).recipe.weights
    for spec in ("timm:test_resnet.r160_in1k", "timm:test_resnet"):
        told = offline(tmp_path, SCRIPT.format(spec=spec))
        assert told.startswith(f"{weights} mean, std, interpolation, size: of timm's tag r160_in1k")
        assert told.endswith(" True\n")  # the hub's client was told nothing by the environment


@pytest.mark.slow
def test_a_repository_says_its_architecture_and_preprocessing(resnet_state: State, tmp_path: Path) -> None:
    stated = {"mean": [0.3, 0.2, 0.1], "std": [0.25] * 3, "interpolation": "bilinear", "input_size": [3, 96, 96]}
    config = {"architecture": "test_resnet", "pretrained_cfg": stated}
    cached(tmp_path, "org/endo", weights=resnet_state, config=config)
    script = SCRIPT.format(spec="timm:hf-hub:org/endo") + "print(recipe.mean, recipe.size)"
    told = offline(tmp_path, script)
    assert "from the repository's config.json" in told
    assert told.endswith("(0.3, 0.2, 0.1) (96, 96)\n")


def test_weights_that_are_nowhere_are_told_without_asking_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub_reachable()
    with pytest.raises(WeightsNotFoundError, match="its weights are not on this machine and the model hub cannot"):
        hub_file(parse_spec("timm:resnet18.a1_in1k"), "timm/no-such-repository", ["model.safetensors"])


def test_what_is_no_name_of_a_repository_is_refused() -> None:
    with pytest.raises(EncoderSpecError, match="'' is no name of a repository"):
        hub_file(EncoderSpec("timm:hf-hub:", "timm", "", "hub", "hf-hub:"), "", ["config.json"])
