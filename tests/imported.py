"""What programs of tests import before they are forked, for seconds; torch is left out, which takes memory."""

from __future__ import annotations

import faiss  # noqa: F401
import gunicorn.app.base
import gunicorn.arbiter  # noqa: F401
from PIL import Image

import web.app
import web.commands.serve
import web.serving.server
import web.serving.worker  # noqa: F401
from retrieval.encoders.resizing import resize
from retrieval.encoders.runtime import openvino_runtime

Image.init()
openvino_runtime()
resize(Image.new("RGB", (64, 48)), (32, 24), "bicubic")  # the first compiled kernel loads most of numba
