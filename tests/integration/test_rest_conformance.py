"""Every answer of the running server, errors included, is what the OpenAPI document says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from web.keys import create_key

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "use_after_free",
    "ignored_auth",
]
"""All of schemathesis's checks but one: what it calls a valid picture is random bytes, rightly refused."""


@pytest.fixture(scope="module")
def writable(serve: Callable[..., Any], two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import shutil

    path = tmp_path_factory.mktemp("conformance") / "drawn.collection"
    shutil.copytree(two_spaces, path)
    return serve(path, "--rate", "off")


def test_every_answer_conforms_to_the_document(writable: Any, tmp_path: Path) -> None:
    _, key = create_key(writable.collection, "conformance", "write")
    command = [
        Path(sys.executable).with_name("schemathesis"),
        "run",
        f"{writable.url}/api/v1/openapi.json",
        "--header",
        f"Authorization: Bearer {key}",
        "--checks",
        ",".join(CHECKS),
        "--max-examples",
        "8",
        "--seed",
        "1",
        "--suppress-health-check",
        "all",
        "--generation-database",
        "none",
        "--no-color",
    ]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONWARNINGS": "ignore"}
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


def test_the_document_is_openapi_3_1_and_names_every_operation(served: Any) -> None:
    with urllib.request.urlopen(f"{served.url}/api/v1/openapi.json") as answer:
        document = json.load(answer)
    assert document["openapi"].startswith("3.1")
    operations = {(method, path) for path, item in document["paths"].items() for method in item}
    assert operations == {
        ("post", "/api/v1/search"),
        ("get", "/api/v1/images"),
        ("post", "/api/v1/images"),
        ("get", "/api/v1/images/{image_id}"),
        ("delete", "/api/v1/images/{image_id}"),
        ("get", "/api/v1/images/{image_id}/picture"),
        ("get", "/api/v1/images/{image_id}/thumbnail"),
        ("get", "/api/v1/images/{image_id}/similar"),
        ("get", "/api/v1/collection"),
        ("post", "/api/v1/evaluations"),
        ("get", "/api/v1/evaluations/{evaluation_id}"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    }
