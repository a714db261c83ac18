"""Bodies that hold a picture, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any

from web.fields import Fields, form_properties

_BINARY = {"schema": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}}


def picture_body(form: type[Fields], description: str, **others: Any) -> dict[str, Any]:
    """A picture as the part `image` of a form beside the form's own fields, or as the whole body.

    others: further content types with what they hold.
    """
    schema = {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {"image": {"type": "string", "format": "binary"}} | form_properties(form),
    }
    whole = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/octet-stream")
    content = {"multipart/form-data": {"schema": schema}} | others | dict.fromkeys(whole, _BINARY)
    return {"required": True, "description": description, "content": content}
