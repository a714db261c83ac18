"""Which encoders a run uses: those that made the collection's spaces, and new ones."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.collection import CollectionWriter, SpaceDefinition
from retrieval.encoders import DEFAULT, Encoder, EncoderOptions, Fit
from retrieval.errors import EncoderError
from retrieval.spaces.encoder import create, definition_of, definitions, load_encoder, require_fit

_AS_NAMED = EncoderOptions()


def open_encoders(
    writer: CollectionWriter,
    specs: Sequence[str],
    fit: Fit | None,
    full_size: bool = False,
    broken: dict[str, str] | None = None,
    options: EncoderOptions = _AS_NAMED,
) -> dict[str, Encoder]:
    """The encoders of a run by space: those that made the collection's spaces, and new ones by their specs.

    full_size: whether new encoders see pictures decoded at full size, since descriptors need that decoding too.
    options: what the specs of new encoders do not say of their input and weights.
    Without specs, a new collection gets the default encoder. broken: where it is given, the collection's encoders that
    cannot be loaded are noted there, space -> reason, and left out. Raises EncoderError of several kinds.
    """
    new = not writer.manifest.spaces or (options.features != "last")
    for spec in list(specs) or ([DEFAULT] if new else []):
        create(writer, spec, fit, full_size, options)
    encoders = {}
    for name, definition in definitions(writer.manifest).items():
        if not specs:
            require_fit(definition, fit)
        try:
            encoders[name] = load_encoder(writer.path, definition, "indexing")
        except EncoderError as error:
            if broken is None:
                raise
            broken.setdefault(name, str(error))
    return encoders


def space_of(writer: CollectionWriter, spec: str) -> SpaceDefinition | None:
    """The space that an encoder of this name made, if there is one; its weights need not be there any more."""
    return definition_of(writer.manifest, spec)
