"""Every answer of the running server, errors included, is what the OpenAPI document says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
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

CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 414, 415, 422, 428, 429, "5xx"]
"""
"""Its own statuses and 414: data that does not fit may also be too long for an address."""


@pytest.fixture(scope="module")
def writable(
    serve: Callable[..., Any],
    index_folder: Callable[..., Path],
    indexed: Any,
    two_spaces: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Spaces of both kinds, since each takes other vectors."""
    path = tmp_path_factory.mktemp("conformance") / "drawn.collection"
    shutil.copytree(two_spaces, path)
    return serve(index_folder(indexed.data, path, descriptors="JCD"), "--rate", "off")


def test_every_answer_conforms_to_the_document(writable: Any, tmp_path: Path) -> None:
    _, key = create_key(writable.collection, "conformance", "write")
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [
        Path(sys.executable).with_name("schemathesis"),
        "--config-file",
        str(config),
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
        ("post", "/api/v1/search/batch"),
        ("get", "/api/v1/images"),
        ("post", "/api/v1/images"),
        ("get", "/api/v1/images/{image_id}"),
        ("delete", "/api/v1/images/{image_id}"),
        ("get", "/api/v1/images/{image_id}/picture"),
        ("get", "/api/v1/images/{image_id}/thumbnail"),
        ("get", "/api/v1/images/{image_id}/similar"),
        ("get", "/api/v1/images/{image_id}/vectors"),
        ("get", "/api/v1/images/{image_id}/reasons"),
        ("post", "/api/v1/images/{image_id}/reasons"),
        ("get", "/api/v1/collection"),
        ("post", "/api/v1/evaluations"),
        ("get", "/api/v1/evaluations"),
        ("get", "/api/v1/evaluations/compare"),
        ("get", "/api/v1/map"),
        ("post", "/api/v1/search/classes"),
        ("get", "/api/v1/evaluations/{evaluation_id}"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    }


@pytest.mark.parametrize("value", [-5.5, 1e308])
def test_a_vector_that_is_no_descriptors_is_the_clients_fault(writable: Any, value: float) -> None:
    asked = {"vector": [value] * 168, "spaces": ["JCD"]}
    answer = httpx.post(f"{writable.url}/api/v1/search", json=asked, timeout=60)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "vector" in answer.json()["detail"]
