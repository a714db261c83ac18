from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from retrieval.field_of_view import field_of_view
from retrieval.images import Picture, from_image
from retrieval.learn.views import KINDS, UnknownViewsError, View, views_named
from retrieval.marks import marks_of, names_of


@pytest.fixture(scope="module")
def picture(draw: Callable[..., Image.Image]) -> Picture:
    """A lit field of view of 400 x 360 with 60 black columns at either side."""
    frame = Image.new("RGB", (520, 360))
    frame.paste(draw(3, (200, 120, 90), (400, 360)), (60, 0))
    return from_image(frame)


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_is_another_picture_and_always_the_same(picture: Picture, kind: str) -> None:
    view = View(kind)
    before = picture.pixels().copy()
    made = view.of(picture)
    assert np.array_equal(view.of(picture).pixels(), made.pixels())
    assert np.array_equal(picture.pixels(), before)
    if kind != "unboxed":  # there is no box to take away
        assert not np.array_equal(made.pixels(), before)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"central", "unboxed"}))
def test_several_views_of_a_kind_differ(picture: Picture, kind: str) -> None:
    made = {view.of(picture).pixels().tobytes() for view in views_named(f"{kind}:3")}
    assert len(made) == 3


def test_views_are_named_by_kind_and_number() -> None:
    assert views_named("none") == ()
    assert [view.name for view in views_named("central:2, varied:3")] == ["central", "varied", "varied.1", "varied.2"]
    assert [view.name for view in views_named("boxed,sources")] == [
        *("boxed", "reencoded", "resized", "unboxed", "bordered", "lettered"),
    ]
    assert len(views_named("sources:2")) == 11  # a box can be taken away once
    for wrong in ("", "varied:0", "varied:", "none,varied", "mirrored", "varied:2:3"):
        with pytest.raises(UnknownViewsError, match="give none, or any of central"):
            views_named(wrong)


def test_the_central_part_has_85_percent_of_the_area(picture: Picture) -> None:
    made = View("central").of(picture)
    assert made.width * made.height == pytest.approx(0.85 * picture.width * picture.height, rel=0.01)


def test_a_part_that_varies_has_55_to_100_percent_of_the_area(picture: Picture) -> None:
    made = View("varied").of(picture)
    assert 0.54 <= made.width * made.height / (picture.width * picture.height) <= 1


def test_a_box_lies_in_the_lower_left_of_the_field_of_view(picture: Picture) -> None:
    changed = (View("boxed").of(picture).pixels() != picture.pixels()).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert 59 <= columns[0] <= 62
    assert columns[-1] < 60 + 0.4 * 400
    assert rows[0] > 0.6 * 360


def test_a_border_keeps_what_is_lit_and_cuts_its_corners(picture: Picture) -> None:
    made = View("bordered").of(picture)
    left, top, right, bottom = field_of_view(made.pixels())
    assert right - left <= 400
    assert not made.pixels()[top, left].any()
    assert not made.pixels()[bottom - 1, right - 1].any()
    assert "octagon" in names_of(marks_of(made.image).bits)


def test_detail_is_lost_by_resizing_and_by_encoding_but_not_the_size(picture: Picture) -> None:
    def detail(one: Picture) -> float:
        grey = np.asarray(one.image.convert("L"), np.float64)[:, 80:440]
        return float(np.abs(np.diff(grey, axis=1)).mean())

    for kind in ("resized", "reencoded"):
        made = View(kind).of(picture)
        assert (made.width, made.height) == (picture.width, picture.height)
    assert detail(View("resized").of(picture)) < detail(picture)
