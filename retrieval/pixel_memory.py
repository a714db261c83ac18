"""The memory of a decoded Pillow picture as an array, without the copy that `numpy.asarray` makes.

Pillow stores RGB in 4 bytes a pixel and shows them by the Arrow PyCapsule interface; the copy to 3 bytes takes a
quarter of the time of decoding the picture.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class _ArrowArray(ctypes.Structure):
    """https://arrow.apache.org/docs/format/CDataInterface.html."""


_ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class _Memory:
    """What numpy needs of a picture's memory; the capsule holds the picture as long as an array refers to this."""

    def __init__(self, capsule: Any, size: tuple[int, int]) -> None:
        self._capsule = capsule
        array = _ArrowArray.from_address(_pointer(capsule, b"arrow_array"))
        address = array.children[0].contents.buffers[1] + 4 * array.offset
        width, height = size
        self.__array_interface__ = {
            "version": 3,
            "shape": (height, width),
            "typestr": "<u4",
            "data": (address, True),
        }


def packed_pixels(image: Image.Image) -> NDArray[np.uint32]:
    """Pixels (h, w) uint32 of an RGB picture, read-only: red in the lowest byte, green, blue; the highest says nothing.

    A view of the picture's memory, a copy where that lies in several blocks (above 4 megapixels).
    """
    try:
        _, capsule = image.__arrow_c_array__()
    except ValueError:
        rgbx = np.zeros((image.height, image.width, 4), np.uint8)
        rgbx[..., :3] = np.asarray(image)
        rgbx.flags.writeable = False
        return rgbx.view("<u4")[..., 0]
    return np.asarray(_Memory(capsule, image.size))
