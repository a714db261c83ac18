"""Files of published weights: from the Hugging Face cache on disk, else the hub; offline an error in seconds."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from urllib.parse import urlsplit

from retrieval.encoders.spec import EncoderSpec, EncoderSpecError, WeightsNotFoundError

_SECONDS = 2.5
"""Patience for one connection; the hub's own client tries for a minute."""


def hub_file(spec: EncoderSpec, repository: str, names: Sequence[str], revision: str | None = None) -> Path:
    """The first of these files that the cache has, or else the first that the hub has.

    Raises EncoderSpecError for what is no repository's name, WeightsNotFoundError within seconds without a network.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    for name in names:
        try:
            cached = try_to_load_from_cache(repository, name, revision=revision)
        except HFValidationError as error:
            raise EncoderSpecError(f"{spec.text}: '{repository}' is no name of a repository ({error})") from error
        if isinstance(cached, str):
            return Path(cached)
    if not hub_reachable():
        raise unreachable(spec)
    try:
        for name in names[:-1]:
            try:
                return Path(hf_hub_download(repository, name, revision=revision))
            except EntryNotFoundError:
                continue
        return Path(hf_hub_download(repository, names[-1], revision=revision))
    except Exception as error:  # the client raises its own, httpx's and OSErrors
        raise unreachable(spec, error) from error


def url_file(spec: EncoderSpec, url: str) -> Path:
    """A file at an address of its own, cached where PyTorch's hub caches its downloads.

    Raises WeightsNotFoundError.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if not path.is_file():
        if not _reachable(url):
            raise unreachable(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except Exception as error:
            raise unreachable(spec, error) from error
    return path


def unreachable(spec: EncoderSpec, error: Exception | None = None) -> WeightsNotFoundError:
    """The error for weights that neither the disk nor the hub has, with the hub's reason and what to do."""
    if spec.family == "timm":
        instead = f"timm:{spec.architecture}/FILE.safetensors"
    elif spec.source == "hub":
        instead = "open_clip:local-dir:DIR (a folder with open_clip_config.json and the weights)"
    else:
        instead = f"open_clip:{spec.architecture}/FILE.safetensors"
    reason = (
        shorten(next(iter(str(error).strip().splitlines()), ""), 200, placeholder=" …").rstrip(".") if error else ""
    )
    return WeightsNotFoundError(
        f"{spec.text}: its weights are not on this machine and the model hub cannot be reached or does not give them"
        f"{f' ({reason})' if reason else ''}; fetch the weights where there is a network and give them as {instead}"
    )


def hub_reachable() -> bool:
    """Whether a connection to the hub (HF_ENDPOINT or huggingface.co) can be opened within a few seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    return _reachable(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))


def _reachable(address: str) -> bool:
    url = urlsplit(address)
    reached = threading.Event()

    def connect() -> None:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            with socket.create_connection((url.hostname or "", port), timeout=_SECONDS):
                reached.set()
        except OSError:
            return

    # Resolving a name has no time limit of its own, so it is given a thread that is not waited for.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return reached.is_set()
