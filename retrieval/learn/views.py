"""Augmented views of a training picture, so that a learned space does not learn the frame.

On pictures of other sources a space that is learned on whole frames alone fails where the frame differs; the central
crop mends most of it, a flip nothing.
"""

from __future__ import annotations

from retrieval.images import Picture

CENTRAL = "central"
"""The view that `kvasir learn` takes by default."""
_AREA = 0.85


def central(picture: Picture) -> Picture:
    """The central 85 % of the area of a picture, upright, without frame and corners."""
    side = _AREA**0.5
    edge = (1 - side) / 2
    return picture.crop((edge, edge, side, side))


VIEWS = {"none": (), CENTRAL: (central,)}
"""By name, the functions that make the views of a picture."""
