"""Whether weights can come over the network, found out in seconds instead of the minute that the hub's client takes."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from textwrap import shorten
from urllib.parse import urlsplit

from retrieval.encoders.published import may_hold
from retrieval.encoders.spec import EncoderSpec, WeightsNotFoundError

_SECONDS = 2.5


def require_weights(spec: EncoderSpec) -> None:
    """Raise WeightsNotFoundError at once where the hub is out of reach and its cache on disk cannot have the weights.

    Where it may have them, the hub's client is told to stay offline and looks there.
    """
    if spec.source not in ("hub", "tag") or hub_reachable():
        return
    cached = [folder.parents[1].name for folder in _cache().glob("models--*/snapshots/*")]
    if not any(may_hold(name.removeprefix("models--").replace("--", "/"), spec) for name in cached):
        raise unreachable(spec)
    os.environ["HF_HUB_OFFLINE"] = "1"


def unreachable(spec: EncoderSpec, error: Exception | None = None) -> WeightsNotFoundError:
    """What to tell a person whose weights can be had neither from disk nor from the hub, with the hub's own reason."""
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
    url = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
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


def _cache() -> Path:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
