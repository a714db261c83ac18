"""`kvasir compile`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from retrieval.arguments import LocalPath
from retrieval.compilation import VARIABLE, folder_to_write, unstored
from retrieval.disk import full_disk
from retrieval.errors import OutputError


class NoFolderError(OutputError):
    """Compiled kernels can be stored nowhere."""


@click.command("compile")
@click.argument("folder", type=LocalPath(), required=False)
def command(folder: Path | None) -> None:
    """Compile all kernels ahead, so that no later start does: after an installation, or in a container's image.

    They are stored in FOLDER, which later commands read where the environment variable KVASIR_KERNELS names it;
    without FOLDER where every command looks: beside the program, in the user's cache, or among the temporary files.

    Example:  kvasir compile /opt/kvasir-kernels
    """
    if folder is not None:
        os.environ[VARIABLE] = str(folder)
    target = folder_to_write()
    if target is None or (folder is not None and not target.is_relative_to(folder.absolute())):
        raise NoFolderError(f"{folder or 'no folder for compiled kernels'} cannot be written; name another")
    compile_all()
    if unstored:
        raise full_disk(unstored[0], target) or NoFolderError(
            f"{unstored[0].filename}: compiled kernels cannot be stored ({unstored[0].strerror}); name another folder"
        )
    click.echo(f"every kernel is compiled; {target.parent if folder else target} has them")


def compile_all() -> None:
    """Run each kernel once on arrays of the kinds that it is used with."""
    import numpy as np
    from PIL import Image

    from retrieval.descriptors import warm_up
    from retrieval.encoders.resizing import resize
    from retrieval.evaluation.ranking import Labelled, rank

    warm_up()
    resize(Image.new("RGB", (64, 48)), (32, 24), "bicubic")
    one = Labelled(np.zeros(2, np.int64), np.arange(2))
    rank(np.zeros((2, 2)), one, one)
