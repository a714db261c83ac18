"""What is stored: catalog (SQLite), vectors (memory-mapped arrays), manifest, converted encoders.

COLLECTION/
  manifest.json        format version, each space's recipe
  catalog.sqlite       one row an image
  catalog.columns      the same as columns, of a large collection; made again from the catalog
  vectors/             SPACE.float32: row number = image id
  encoders/SPACE/      the encoder as OpenVINO runs it
  index/SPACE/         a FAISS index that takes long to build; it can be made again from the vectors
  learned/             models of learned spaces, and cached vectors of augmented views
  reasons/             outcomes of the test of reasons, by `kvasir reasons`
  calibration/         what scores mean as chances, and what tells strange pictures; fitted by `kvasir calibrate`
  maps/                the images of a space in two dimensions; made again by `kvasir map`
  greys.rows           small grey pictures that near duplicates are compared by; made again from the pictures
  writer.lock          locked by the one process that writes
"""

from retrieval.collection.catalog import DamagedCatalogError
from retrieval.collection.changes import Difference
from retrieval.collection.folder import CollectionBusyError, NotWritableError
from retrieval.collection.images import Images
from retrieval.collection.manifest import (
    FormatError,
    Manifest,
    NotACollectionError,
    SpaceDefinition,
    SpaceNameError,
    tower_folder,
)
from retrieval.collection.pictures import PictureGoneError, SourceGoneError
from retrieval.collection.reading import Collection, DamagedVectorError, NoSuchImageError
from retrieval.collection.rows import KnownImage, NewImage
from retrieval.collection.writing import CollectionWriter

__all__ = [
    "Collection",
    "CollectionBusyError",
    "CollectionWriter",
    "DamagedCatalogError",
    "DamagedVectorError",
    "Difference",
    "FormatError",
    "Images",
    "KnownImage",
    "Manifest",
    "NewImage",
    "NoSuchImageError",
    "NotACollectionError",
    "NotWritableError",
    "PictureGoneError",
    "SourceGoneError",
    "SpaceDefinition",
    "SpaceNameError",
    "tower_folder",
]
