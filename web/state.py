"""What one server holds beside Flask's own: reached by `state()` from any request."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from web.gate import Gate
from web.jobs import Jobs
from web.kept import Kept
from web.live import LiveCollection
from web.settings import Settings


@dataclass(frozen=True)
class State:
    """live: the collection. gate: admits searches; drawing and writing: pictures to be drawn and to be stored.

    uploads: queries by their name; shown: thumbnails and the like.
    """

    settings: Settings
    live: LiveCollection
    gate: Gate
    drawing: Gate
    writing: Gate
    uploads: Kept
    shown: Kept
    jobs: Jobs


def state() -> State:
    """The state of the server that answers this request."""
    held: State = current_app.extensions["kvasir"]
    return held
