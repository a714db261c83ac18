"""Which architectures can make a space: a small member of each family, untrained, converted and compared with PyTorch.

    python tests/benchmarks/bench_encoders.py [--library timm|open_clip] [--most 60] [--only NAME,NAME] [--all]

Prints a line for each: numbers in an embedding, input, how it runs (OpenVINO with the least cosine to PyTorch, or
PyTorch with the reason), or why it makes no space. --most: millions of parameters; families without a smaller member
are listed as skipped. --all: every architecture within that limit, not one of each family.

Exit status 1 where an architecture neither runs nor is refused with a reason of the project's own.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from retrieval.encoders.recipe import Recipe
from retrieval.encoders.runtime import ConversionError, OpenVinoEncoder, _least_cosine, convert
from retrieval.encoders.selftest import drawn_pictures, require_embeddings
from retrieval.encoders.spec import EncoderSpec
from retrieval.encoders.tower import _dimension
from retrieval.encoders.tower_module import Tower
from retrieval.errors import EncoderError


def timm_members(most: float, whole: bool) -> Iterator[tuple[str, str | None]]:
    """(architecture, why it is skipped or None) of each family of timm, the smallest by parameters."""
    import timm

    families = defaultdict(list)
    for name in timm.list_models():
        families[timm.model_entrypoint(name).__module__.rpartition(".")[2]].append(name)
    for family, names in sorted(families.items()):
        sizes = {name: size for name in names if (size := timm_parameters(name)) is not None}
        within = sorted((size, name) for name, size in sizes.items() if size <= most * 1e6)
        if not within:
            yield names[0], f"{family}: none of {len(names)} has fewer than {most:g} million parameters"
        for _, name in within if whole else within[:1]:
            yield name, None


def timm_parameters(name: str) -> int | None:
    """Parameters of an architecture, counted without making them; None where it cannot be made so."""
    import timm

    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = timm.create_model(name, num_classes=0)
    except Exception:
        return None
    return sum(parameter.numel() for parameter in model.parameters())


def timm_model(name: str) -> tuple[torch.nn.Module, tuple[int, int]]:
    import timm

    model = timm.create_model(name, num_classes=0)
    _, height, width = model.pretrained_cfg["input_size"]
    return model, (width, height)


def open_clip_members(most: float, whole: bool) -> Iterator[tuple[str, str | None]]:
    """(architecture, why it is skipped or None) of each kind of image tower of open_clip."""
    import open_clip

    families = defaultdict(list)
    for name in open_clip.list_models():
        vision = open_clip.get_model_config(name)["vision_cfg"]
        kind = vision.get("timm_model_name", "resnet" if isinstance(vision.get("layers"), list) else "vit").split("_")[
            0
        ]
        head = [
            key for key in ("attentional_pool", "pool_type", "no_ln_pre", "timm_pool", "timm_proj") if vision.get(key)
        ]
        families[kind, *head].append(name)
    for family, names in sorted(families.items()):
        within = sorted((size, name) for name in names if (size := open_clip_parameters(name)) <= most * 1e6)
        if not within:
            yield names[0], f"{' '.join(family)}: none of {len(names)} has fewer than {most:g} million parameters"
        for _, name in within if whole else within[:1]:
            yield name, None


def open_clip_parameters(name: str) -> float:
    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in open_clip_model(name)[0].parameters())
    except Exception:
        return float("inf")


def open_clip_model(name: str) -> tuple[torch.nn.Module, tuple[int, int]]:
    import open_clip

    from retrieval.encoders.open_clip import _build, _ImageTower

    config = open_clip.get_model_config(name)
    spec = EncoderSpec(f"open_clip:{name}", "open_clip", name, "file", "")
    visual = _build(spec, config, bool(config.get("quick_gelu")), None)
    size = visual.image_size
    height, width = (size, size) if isinstance(size, int) else size  # type: ignore[misc]
    return _ImageTower(visual), (width, height)


def settle(model: torch.nn.Module, size: tuple[int, int]) -> None:
    """Give batch normalisations the statistics of three pictures; untrained, deep towers shrink every signal."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    width, height = size
    pictures = [picture.image.resize((width, height)) for picture in drawn_pictures()]
    pixels = torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    model.train()
    with torch.no_grad(), contextlib.suppress(Exception):  # those that cannot train so need no settling either
        model(pixels)
    model.eval()


def survey(library: str, name: str) -> tuple[str, bool]:
    """What becomes of an architecture, and whether that is one of the outcomes that are meant to be."""
    torch.manual_seed(0)
    try:
        model, size = timm_model(name) if library == "timm" else open_clip_model(name)
    except Exception as error:
        return f"cannot be built: {type(error).__name__}: {error}"[:150], isinstance(error, EncoderError)
    settle(model, size)
    spec = EncoderSpec(f"{library}:{name}", "timm", name, "file", "")
    try:
        dimension = _dimension(model, spec, *size)
        recipe = Recipe(spec.text, "", dimension, size, (0.5,) * 3, (0.5,) * 3, "bicubic", "squash", library)
        tower = Tower(model, recipe)
        require_embeddings(tower)
    except EncoderError as error:
        return f"no space: {str(error).removeprefix(f'{spec.text}: ')}"[:150], True
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            convert(tower, Path(folder) / "tower")
            cosine = _least_cosine(OpenVinoEncoder(Path(folder) / "tower", recipe, "latency"), tower)
            how = f"OpenVINO, cosine {cosine:.6f}, {time.perf_counter() - start:.0f} s"
        except ConversionError as error:
            how = f"PyTorch: {str(error).removeprefix(f'{spec.text}: ')}"[:150]
    return f"{dimension:5} numbers, {size[0]}x{size[1]}, {how}", True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=["timm", "open_clip"])
    parser.add_argument("--most", type=float, default=60, help="millions of parameters")
    parser.add_argument("--only", default="", help="names separated by commas")
    parser.add_argument("--all", action="store_true", help="every architecture within the limit")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    sound = True
    for library, members in (("timm", timm_members), ("open_clip", open_clip_members)):
        if options.library not in (None, library):
            continue
        named = ((name, None) for name in options.only.split(","))
        for name, skipped in named if options.only else members(options.most, options.all):
            outcome, expected = (f"skipped, {skipped}", True) if skipped else survey(library, name)
            sound &= expected
            print(f"{library:9} {name:40} {outcome}", flush=True)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
