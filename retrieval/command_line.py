"""The `kvasir` command: subcommands are looked up by name and imported only when they are called.

The table below names modules of the three packages as text, so nothing here imports upward, and
`kvasir search` pays for nothing that only `kvasir serve` needs.
"""

from __future__ import annotations

import sqlite3
import sys
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from retrieval.disk import full_disk
from retrieval.errors import RetrievalError

COMMANDS = {
    "download": ("indexer.commands.download", "Fetch the official Kvasir archives."),
    "sample": ("indexer.commands.sample", "Draw a small sample of the eight classes; not endoscopy."),
    "index": ("indexer.commands.index", "Make or complete a collection from a folder or zip of pictures."),
    "features": ("indexer.commands.features", "Write LIRE's descriptors of pictures in Kvasir's file form."),
    "add": ("indexer.commands.add", "Add pictures to a collection."),
    "export": ("retrieval.commands.export", "Write a collection's vectors as .npy files with tables."),
    "remove": ("indexer.commands.remove", "Remove pictures from a collection."),
    "info": ("retrieval.commands.info", "Show what a collection holds and how it was made."),
    "verify": ("indexer.commands.verify", "Check a collection against itself, and repair it."),
    "backup": ("retrieval.commands.backup", "Write a collection into one file, while it is served."),
    "restore": ("retrieval.commands.restore", "Put a backup in the place of a collection."),
    "duplicates": ("indexer.commands.duplicates", "List pictures that show the same, and labels that disagree."),
    "scenes": ("indexer.commands.scenes", "Find pictures of one place in one examination."),
    "search": ("indexer.commands.search", "Find the pictures most similar to one."),
    "map": ("retrieval.commands.map", "Lay out the images of a space in two dimensions."),
    "tune": ("retrieval.commands.tune", "Build and tune the indexes of large spaces."),
    "push": ("retrieval.commands.push", "Bring a collection's vectors to a vector engine, Milvus."),
    "size": ("retrieval.commands.size", "Memory, disk and time that collections of other sizes take."),
    "learn": ("retrieval.commands.learn", "Learn a space from the classes of a collection."),
    "refit": ("retrieval.commands.refit", "Fit a learned space again on all images that are there now."),
    "calibrate": ("indexer.commands.calibrate", "Fit the chance that a hit shows the query's finding."),
    "reasons": ("retrieval.commands.reasons", "Test and tell why an image is a hit."),
    "finetune": ("retrieval.commands.finetune", "Train an encoder's last blocks on the classes of a collection."),
    "evaluate": ("indexer.commands.evaluate", "Measure retrieval: every picture queries the others."),
    "compare": ("retrieval.commands.compare", "Say which of two stored evaluations is better."),
    "compile": ("retrieval.commands.compile", "Compile numerical kernels ahead, for instance in an image."),
    "serve": ("web.commands.serve", "Serve a collection as a page for people and a REST API for programs."),
    "key": ("web.commands.key", "Make, list and revoke the API keys of a collection."),
}
"""Subcommand -> (module that defines a click command named `command`, help in one line)."""


INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name.lower(), COMMANDS, 1)
            meant = f"did you mean `kvasir {near[0]}`?" if near else "`kvasir -h` lists the commands"
            ctx.fail(f"there is no command '{name}'; {meant}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nkvasir: interrupted", err=True)
            ctx.exit(INTERRUPTED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="kvasir-retrieval", prog_name="kvasir")
def kvasir() -> None:
    """Content-based image retrieval for gastrointestinal endoscopy.

    For research and teaching, not for diagnosis.
    """


def main() -> None:
    """Run `kvasir`; an error of the project or of the disk becomes one line on stderr and exit status 2."""
    try:
        kvasir()
    except RetrievalError as error:
        _end(str(error))
    except (OSError, sqlite3.Error) as error:
        if (full := full_disk(error, Path.cwd())) is not None:
            _end(str(full))
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        _end(f"{where}{getattr(error, 'strerror', None) or error}")


def _end(message: str) -> NoReturn:
    click.echo(f"kvasir: {message}", err=True)
    sys.exit(2)
