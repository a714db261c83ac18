from __future__ import annotations

import pytest
from pydantic import ValidationError
from werkzeug.datastructures import MultiDict

from web.errors import RepeatedFieldError
from web.requests import NewPicture, field_faults, field_values, picture_body
from web.search import SearchOptions


def test_fields_of_a_form_become_lists_where_the_model_has_lists() -> None:
    fields = MultiDict([("k", "3"), ("spaces", "a"), ("spaces", "b"), ("region", "0,0,1,1")])
    assert field_values(fields) == {"k": "3", "spaces": ["a", "b"], "region": ["0,0,1,1"]}
    options = SearchOptions.model_validate(field_values(fields))
    assert (options.k, options.spaces, options.region) == (3, ["a", "b"], [0, 0, 1, 1])


def test_a_field_with_one_value_is_not_given_twice() -> None:
    with pytest.raises(RepeatedFieldError, match="'k' is given 2 times"):
        field_values(MultiDict([("k", "3"), ("k", "4")]))


@pytest.mark.parametrize(
    ("region", "fault"),
    [
        ([0, 0, 0, 1], "must have a width and a height"),
        (
            [0.5, 0.5, 0.6, 0.2],
            "must lie inside the picture: left + width and top + height are at most 1",
        ),
    ],
)
def test_a_region_that_does_not_fit_is_told_in_a_sentence(region: list[float], fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SearchOptions(region=region)
    assert field_faults(caught.value) == [("region", fault)]


def test_flags_of_an_address_are_true_or_false() -> None:
    assert SearchOptions.model_validate({"exclude_cluster": "true"}).exclude_cluster
    for wrong in ("1", "yes", "TRUE", ""):
        with pytest.raises(ValidationError, match="must be true or false"):
            SearchOptions.model_validate({"exclude_cluster": wrong})


def test_options_of_the_body_override_those_of_the_address_and_no_others() -> None:
    address = SearchOptions.model_validate({"k": "3", "exclude_cluster": "true"})
    body = SearchOptions.model_validate({"k": 5, "spaces": ["a"]})
    merged = address.overridden_by(body)
    assert (merged.k, merged.exclude_cluster, merged.spaces) == (5, True, ["a"])


@pytest.mark.parametrize("name", [" a", "a ", "a\nb", "", "\x00", "x" * 101])
def test_a_new_class_has_a_printable_name(name: str) -> None:
    with pytest.raises(ValidationError):
        NewPicture.model_validate({"class": name})


def test_a_form_in_the_document_has_no_nulls() -> None:
    body = picture_body(SearchOptions, "")
    properties = body["content"]["multipart/form-data"]["schema"]["properties"]
    assert properties["image"] == {"type": "string", "format": "binary"}
    assert set(properties) == {"image", *SearchOptions.model_fields}
    assert "null" not in str(properties)
