"""Options of `kvasir index` for what an encoder's name and weights do not say: its input, and the state in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, get_args

import click

from retrieval.encoders import EncoderOptions
from retrieval.encoders.preprocessing import DEFAULT_COMPONENTS
from retrieval.encoders.recipe import DEFAULT_MARKS, INTERPOLATIONS, Features, MarksHandling


class Channels(click.ParamType):  # type: ignore[type-arg]  # generic in its stubs alone
    """One number for all channels, or three separated by commas."""

    name = "R,G,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Three numbers."""
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) not in (1, 3) or not all(0 <= number <= 1 for number in numbers):
            self.fail(f"{value!r} is not a number between 0 and 1, or three of them separated by commas", param, ctx)
        return numbers * 3 if len(numbers) == 1 else numbers


class Size(click.ParamType):  # type: ignore[type-arg]
    """A side, or WIDTHxHEIGHT."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Width and height."""
        parts = str(value).lower().split("x")
        if not (len(parts) in (1, 2) and all(part.isdecimal() and 1 <= int(part) <= 4096 for part in parts)):
            self.fail(f"{value!r} is not a side such as 224, or WIDTHxHEIGHT", param, ctx)
        return int(parts[0]), int(parts[-1])


def encoder_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which takes them as `options`."""

    @click.option("--mean", type=Channels(), help="Mean of a new encoder's input, 0..1; one number or three.")
    @click.option("--std", type=Channels(), help="Standard deviation of a new encoder's input, 0..1.")
    @click.option("--size", type=Size(), help="Size of a new encoder's input in pixels: a side, or WIDTHxHEIGHT.")
    @click.option(
        "--interpolation", type=click.Choice(INTERPOLATIONS), help="How pictures are resized for a new encoder."
    )
    @click.option(
        "--weights-key", default="", metavar="KEY", help="Which state of a weights file to take, such as model_ema."
    )
    @click.option(
        "--encoder-features",
        type=click.Choice(get_args(Features)),
        help="Embed by the last layer of a new encoder, or by statistics of every stage, whose principal components "
        "are fitted on the collection and searched.  [default: multi where the encoder gives its stages]",
    )
    @click.option(
        "--components",
        type=click.IntRange(min=1),
        help=f"Principal components of the statistics of a new encoder, at most.  [default: {DEFAULT_COMPONENTS}]",
    )
    @click.option(
        "--marks",
        type=click.Choice(get_args(MarksHandling)),
        help="Keep the box of the device in the corner of a frame, such as ScopeGuide's picture, or fill it with the "
        f"mean colour of the rest before a new encoder sees it.  [default: {DEFAULT_MARKS}]",
    )
    @wraps(command)
    def with_options(
        *arguments: Any,
        mean: tuple[float, ...] | None,
        std: tuple[float, ...] | None,
        size: tuple[int, int] | None,
        interpolation: str | None,
        weights_key: str,
        encoder_features: str | None,
        components: int | None,
        marks: str | None,
        **others: Any,
    ) -> None:
        options = EncoderOptions(mean, std, size, interpolation, weights_key)
        if options != EncoderOptions() and len(others.get("encoders", ())) != 1:
            raise click.UsageError("--mean, --std, --size, --interpolation and --weights-key are for one --encoder")
        if options.std is not None and min(options.std) <= 0:
            raise click.UsageError("--std must be above 0")
        options = replace(options, features=encoder_features or "auto", marks=marks or "", components=components)
        command(*arguments, options=options, **others)

    return with_options
