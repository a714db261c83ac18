"""What an encoder's input must be (size, mean, std, interpolation), and where each of these values comes from.

Values are never assumed in silence: the recipe says for each whether it was given, or stands in the weights file, in a
file in its folder, in a published configuration, or is only the library's default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from retrieval.encoders.recipe import INTERPOLATIONS
from retrieval.encoders.spec import EncoderSpecError

FIELDS = ("mean", "std", "interpolation", "size")
_LARGEST = 2.0
"""Of a mean or standard deviation of pixels in 0..1; libraries that leave pixels in 0..255 write 58 and more."""
_OPTIONS = {"mean": "--mean", "std": "--std", "interpolation": "--interpolation", "size": "--size"}


DEFAULT_COMPONENTS = 256
"""Of the statistics of an encoder's stages, as many principal components are searched."""


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder is to be built where neither its name nor its weights say, or say it wrongly.

    mean, std: three channels in 0..1; size: (width, height); interpolation: Pillow's name; weights_key: which of
    several states in a weights file; activation: `gelu` or `quick_gelu` of an open_clip tower, or `own` for what its
    architecture's configuration says. features: `last` layer, `multi` for statistics of every stage, or `auto`: `multi`
    where the model gives them. marks: `keep` or `fill`, empty for the default. components: how many principal
    components of the statistics are searched, None for the default.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    interpolation: str | None = None
    weights_key: str = ""
    activation: str = ""
    features: str = "last"
    marks: str = ""
    components: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The fields of the input that are given."""
        values = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Source:
    """Values of one place. assumed: whether nobody stated them for these weights."""

    place: str
    values: Mapping[str, Any]
    assumed: bool = False


@dataclass(frozen=True)
class Preprocessing:
    """The input of an encoder.

    provenance: the place that each value comes from. assumed: fields that nobody stated for these weights, and
    assumed_from: where they come from instead.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    provenance: str
    assumed: tuple[str, ...] = ()
    assumed_from: str = ""


def resolve(sources: Iterable[Source], spec: str) -> Preprocessing:
    """Each value from the first place that has it. Raises EncoderSpecError for a value that cannot be one."""
    chosen: dict[str, Any] = {}
    places: dict[str, list[str]] = {}
    assumed, assumed_from = [], ""
    for source in sources:
        values = canonical(source.values, f"{spec}: {source.place}")
        for name in FIELDS:
            if name in values and name not in chosen:
                chosen[name] = values[name]
                places.setdefault(source.place, []).append(name)
                if source.assumed:
                    assumed.append(name)
                    assumed_from = source.place
    provenance = "; ".join(f"{', '.join(names)}: {place}" for place, names in places.items())
    return Preprocessing(**chosen, provenance=provenance, assumed=tuple(assumed), assumed_from=assumed_from)


def canonical(values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The fields of a configuration of timm, open_clip or transformers, in this project's form; None is no value."""
    settings: dict[str, Any] = {}
    for name, key in (("mean", "image_mean"), ("std", "image_std")):
        value = values.get(name, values.get(key))
        if value is not None:
            settings[name] = _channels(value, f"{place}: {name}", positive=name == "std")
    interpolation = values.get("interpolation")
    if interpolation is None and type(values.get("resample")) is int:
        interpolation = _resampling(values["resample"], place)
    if interpolation is not None:
        settings["interpolation"] = _interpolation(interpolation, place)
    if (size := _size(values, place)) is not None:
        settings["size"] = size
    return settings


def _channels(value: Any, place: str, *, positive: bool) -> tuple[float, ...]:
    """Three numbers; one alone counts for all three channels."""
    numbers = [value] * 3 if isinstance(value, int | float) else value
    sound = isinstance(numbers, Sequence) and not isinstance(numbers, str) and len(numbers) in (1, 3)
    if sound and len(numbers) == 1:
        numbers = list(numbers) * 3
    if not sound or not all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers
    ):
        raise EncoderSpecError(f"{place} is {value!r}, not one number or three, one for each channel")
    if positive and min(numbers) <= 0:
        raise EncoderSpecError(f"{place} is {value!r}; it must be above 0")
    if max(numbers) > _LARGEST:
        raise EncoderSpecError(f"{place} is {value!r}, of pixels from 0 to 255; divide it by 255")
    return tuple(float(number) for number in numbers)


def _interpolation(value: Any, place: str) -> str:
    name = "bicubic" if value == "random" else str(value).lower()
    if name not in INTERPOLATIONS:
        raise EncoderSpecError(f"{place} names the interpolation '{value}'; only {', '.join(INTERPOLATIONS)} are known")
    return name


def _resampling(value: int, place: str) -> str:
    """Pillow's number of a filter, as transformers writes it."""
    try:
        return Image.Resampling(value).name.lower()
    except ValueError:
        raise EncoderSpecError(f"{place} names the resampling {value}, which Pillow does not have") from None


def _size(values: Mapping[str, Any], place: str) -> tuple[int, int] | None:
    """(width, height) from a side, (height, width), a table of either, or timm's (3, height, width)."""
    value = next((values[name] for name in ("crop_size", "size", "input_size") if values.get(name) is not None), None)
    if isinstance(value, list | tuple) and len(value) == 3:
        if value[0] != 3:
            raise EncoderSpecError(f"{place}: takes {value[0]} channels; only RGB models can be used")
        value = value[1:]
    if isinstance(value, Mapping):
        value = (value.get("height", value.get("shortest_edge")), value.get("width", value.get("shortest_edge")))
    if value is None or value == (None, None):
        return None
    two = isinstance(value, list | tuple) and len(value) == 2
    height, width = value if two else (value, value)
    if not all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= 4096 for side in (height, width)):
        raise EncoderSpecError(f"{place}: size is {value!r}, not a side of 1 to 4096 pixels or two")
    return width, height


def given_options(options: EncoderOptions) -> Source:
    """What the user set, which overrides all else."""
    values = {**options.given}
    if options.size is not None:
        values["size"] = (options.size[1], options.size[0])
    named = ", ".join(_OPTIONS[name] for name in options.given)
    return Source(f"as given by {named}", values)


def sidecars(weights: Path, describes: Callable[[Mapping[str, Any]], bool]) -> list[Source]:
    """Configurations in the folder of a weights file: its own (same name, .json), timm's, open_clip's, transformers'.

    describes: whether a configuration with an architecture is of the requested one; others are passed over, since a
    folder may hold weights of several. Raises EncoderSpecError for one that cannot be read, which may have stated what
    would be assumed without it.
    """
    sources = []
    names = [(weights.with_suffix(".json").name, ""), (f"{weights.name}.json", ""), ("config.json", "pretrained_cfg")]
    for name, key in [*names, ("open_clip_config.json", "preprocess_cfg"), ("preprocessor_config.json", "")]:
        table = _read(weights.with_name(name))
        if table is None or not describes(table):
            continue
        inner = next(
            (table[k] for k in (key, "pretrained_cfg", "preprocess_cfg") if isinstance(table.get(k), dict)), table
        )
        sources.append(Source(f"from {name} beside the weights", inner))
    return sources


def _read(path: Path) -> dict[str, Any] | None:
    try:
        table = json.loads(path.read_text("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EncoderSpecError(
            f"{path}, which may state how pictures are prepared, cannot be read as JSON ({reason}); mend it, or give "
            "the weights from a folder without it"
        ) from error
    return table if isinstance(table, dict) else None


def agreed(configurations: Mapping[str, Mapping[str, Any]], names: Sequence[str] = FIELDS[:3]) -> dict[str, Any]:
    """The values that all published configurations of an architecture share."""
    read = [canonical(values, tag) for tag, values in configurations.items()]
    return {
        name: read[0][name]
        for name in names
        if read and all(name in values for values in read) and len({values[name] for values in read}) == 1
    }
