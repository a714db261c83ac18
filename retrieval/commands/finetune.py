"""`kvasir finetune`: an encoder's last blocks, trained on the classes of a collection."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import click

from retrieval.arguments import FiniteRange, LocalPath, require_order, space_option, views_option
from retrieval.terminal import TaskBars, counted, note, progress_bar


@click.command("finetune")
@click.argument("collection", type=LocalPath())
@click.argument("out", type=LocalPath())
@space_option("The space whose encoder is trained.  [default: the first of an encoder]", "--space")
@click.option(
    "--train",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Learn from the training part of this split file alone.",
)
@click.option(
    "--blocks",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many blocks or stages are trained, the last ones.",
)
@views_option(default="varied:5")
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True, help="Most epochs.")
@click.option(
    "--minutes", type=FiniteRange(min=0, min_open=True), help="Start no further epoch after this many minutes."
)
@click.option("--rate", type=FiniteRange(min=0, min_open=True), default=1e-3, show_default=True, help="Learning rate.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto takes CUDA where there is a GPU.",
)
def command(
    collection: Path,
    out: Path,
    spaces: tuple[str, ...],
    train: Path | None,
    blocks: int,
    views: str,
    epochs: int,
    minutes: float | None,
    rate: float,
    seed: int,
    device: str,
) -> None:
    """Train an encoder's last blocks on the classes of COLLECTION, and write OUT, a .safetensors file of its weights.

    The other blocks stay as they are and run once for each view of a picture. Some clusters of near duplicates are put
    aside to validate each epoch: the weights of the best epoch are written, and training ends after four epochs without
    a better one. A run that was stopped continues when the same command is started again.

    Example:  kvasir finetune kvasir.collection tuned.safetensors --minutes 10
    """
    import torch

    from retrieval.collection import Collection, SpaceNameError
    from retrieval.evaluation.split_file import split_from_file
    from retrieval.finetune.training import Expected, FinetuneOptions, finetune
    from retrieval.finetune.weights import name_with, write_weights
    from retrieval.spaces import open_space

    require_order("kvasir finetune", collection, [out], instead="name a file for the weights")
    if out.suffix != ".safetensors":
        raise click.UsageError(f"{out}: name a file that ends in .safetensors")
    if out.exists():
        raise click.UsageError(f"{out} exists; name a new file")
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("PyTorch finds no CUDA device; use --device cpu")
    opened = Collection.open(collection)
    opened_spaces = [open_space(opened.path, definition) for definition in opened.spaces]
    encoders = {space.name: space.encoder_recipe for space in opened_spaces if space.encoder_recipe is not None}
    if not encoders:
        raise SpaceNameError(f"{collection} has no space of an encoder; index its pictures first")
    name = spaces[0] if spaces else next(iter(encoders))
    if len(spaces) > 1 or opened.manifest.space(name).name not in encoders:
        raise SpaceNameError(f"give one space of an encoder by --space: {', '.join(encoders)}")
    definition = opened.manifest.space(name)
    name_with(encoders[definition.name], out)
    used = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    part = None if train is None else split_from_file(train, opened.images.files).rounds[0].gallery
    options = FinetuneOptions(blocks=blocks, views=views, epochs=epochs, minutes=minutes, rate=rate, seed=seed)
    partial = out.with_name(f"{out.name}.unfinished")

    def tell(expected: Expected) -> None:
        most = expected.epochs if minutes is None else max(0, min(expected.epochs, 60 * minutes - expected.views))
        note(
            f"about {_minutes(expected.views)} for views, then at most {_minutes(most)} for epochs, on {used}; "
            f"a run that is stopped goes on from {partial}"
        )

    with progress_bar(transient=True) as bar:
        tuned = finetune(opened, definition, part, options, partial, used, tell, TaskBars(bar).advance)
    before, after = ((figures["precision@1"], figures["mAP"]) for figures in (tuned.before, tuned.after))
    click.echo(
        f"last layer, {counted(len(tuned.images), 'image')}, of which a part validates: P@1 {before[0]:.3f}, mAP "
        f"{before[1]:.3f} before; P@1 {after[0]:.3f}, mAP {after[1]:.3f} after epoch {tuned.epoch} of {tuned.epochs}"
    )
    if tuned.epoch == 0:
        click.echo("no epoch was better than the encoder as it is, so nothing is written")
        return
    written = write_weights(out, opened, tuned, asdict(options))
    shutil.rmtree(partial)
    click.echo(f"{out}: index by it with --encoder {written}")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
