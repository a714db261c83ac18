"""Who is let in: host names, pages of other sites, keys as browsers and programs send them, requests that are none."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from web.app import create_app
from web.context import Settings
from web.keys import create_key

SERVE = "from retrieval.command_line import main; main()"


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    return str(answer.json()["type"])


# Host names


@pytest.fixture(params=["::1", "127.0.0.2"])
def listening(
    request: pytest.FixtureRequest, fork: Callable[..., Any], two_spaces: Path, tmp_path: Path
) -> Iterator[tuple[str, str]]:
    """The address and what `kvasir serve` said of it, at another address of this machine than usual."""
    host = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as trial:
            trial.bind((host, 0))
            port = trial.getsockname()[1]
    except OSError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    log = tmp_path / "serve.log"
    server = fork(SERVE, "serve", two_spaces, "--host", host, "--port", port, stderr=log)
    url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url)
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        yield url, log.read_text()
    finally:
        server.terminate()
        server.wait(40)


def test_every_loopback_address_answers_under_its_own_name_and_no_other(listening: tuple[str, str]) -> None:
    url, said = listening
    assert url in said
    assert httpx.get(f"{url}api/v1/collection").status_code == 200
    assert httpx.get(f"{url}healthz", headers={"Host": "localhost:99"}).status_code == 200
    assert problem(httpx.get(url, headers={"Host": "evil.example"}), 400) == "urn:kvasir:foreign-host"


def test_a_taken_port_is_told_and_nothing_else(fork: Callable[..., Any], two_spaces: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = fork(SERVE, "serve", two_spaces, "--port", other.getsockname()[1], stderr=tmp_path / "said")
        assert server.wait(60) == 2
    said = (tmp_path / "said").read_text()
    assert "cannot listen" in said
    assert "images at" not in said


def test_names_and_origins_come_from_the_environment_with_spaces_between(
    serve: Callable[..., Any], two_spaces: Path
) -> None:
    origins = "https://a.example https://b.example"
    names = "127.0.0.1 Lab.Example"
    server = serve(two_spaces, environment={"KVASIR_CORS": origins, "KVASIR_TRUST_HOST": names})
    for origin in origins.split():
        answer = httpx.get(f"{server.url}/api/v1/collection", headers={"Origin": origin, "Host": "lab.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert problem(httpx.get(f"{server.url}/", headers={"Host": "localhost"}), 400) == "urn:kvasir:foreign-host"


# Pages of other sites


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_form_of_another_site_starts_nothing(served: Any, headers: dict[str, str]) -> None:
    as_program = headers | {"Accept": "application/json"}
    with httpx.Client(base_url=served.url) as client:
        for path in ("/evaluation/", "/search", "/theme"):
            answer = client.post(path, data={"protocol": "none"}, headers=as_program)
            assert problem(answer, 403) == "urn:kvasir:foreign-page"


def test_a_choice_of_the_evaluation_form_is_not_given_twice(served: Any) -> None:
    with httpx.Client(base_url=served.url, headers={"Accept": "application/json"}) as client:
        answer = client.post("/evaluation/", data={"protocol": ["leave-one-out", "leave-cluster-out"]})
        assert problem(answer, 422) == "urn:kvasir:repeated-field"
        assert "'protocol' is given 2 times" in answer.json()["detail"]


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
@pytest.mark.parametrize("path", ["/api/v1/search", "/api/v1/search/batch", "/api/v1/evaluations", "/api/v1/images"])
def test_a_form_of_another_site_calls_no_api(served: Any, headers: dict[str, str], path: str) -> None:
    with httpx.Client(base_url=served.url, headers=headers) as client:
        answers = [
            client.post(path, files={"image": b"GIF89a"}),
            client.post(path, content=b'{"image_id": 3}', headers={"Content-Type": "text/plain"}),
            client.post(path, data={"image_id": "3"}),
        ]
    assert [problem(answer, 403) for answer in answers] == ["urn:kvasir:foreign-page"] * 3


def test_a_form_of_our_own_page_is_taken(served: Any) -> None:
    for headers in ({"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"}, {"Origin": served.url}, {}):
        assert httpx.post(f"{served.url}/theme", headers=headers).status_code == 303


# Keys

UNKNOWN = ("/nosuch", "/%ff", "//else", "/collection/images/abc", "/static/nosuch", "/static/", "/api/v1/nosuch")


@pytest.fixture(scope="module")
def guarded(serve: Callable[..., Any], two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server whose reading needs a key, and a key; a page of https://lab.example may call it."""
    import shutil

    path = tmp_path_factory.mktemp("guarded") / "secret name.collection"
    shutil.copytree(two_spaces, path)
    _, key = create_key(path, "reader", "read")
    server = serve(path, "--require-key", "--rate", "off", "--cors", "https://lab.example")
    server.key = key
    return server


def test_a_page_of_an_allowed_origin_reads_with_a_key(guarded: Any) -> None:
    origin = {"Origin": "https://lab.example"}
    asked = httpx.options(
        f"{guarded.url}/api/v1/search",
        headers=origin
        | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-api-key"},
    )
    assert asked.status_code == 200
    assert "POST" in asked.headers["Access-Control-Allow-Methods"]
    assert {"Authorization", "X-API-Key"} <= set(asked.headers["Access-Control-Allow-Headers"].split(", "))
    for headers in ({"Authorization": f"Bearer {guarded.key}"}, {"X-API-Key": guarded.key}):
        assert httpx.get(f"{guarded.url}/api/v1/collection", headers=origin | headers).status_code == 200
    sent = {"X-API-Key": guarded.key, "Sec-Fetch-Site": "cross-site"}
    searched = httpx.post(f"{guarded.url}/api/v1/search", json={"image_id": 3}, headers=origin | sent)
    assert searched.status_code == 200
    elsewhere = httpx.post(
        f"{guarded.url}/api/v1/search", json={"image_id": 3}, headers=sent | {"Origin": "https://evil.example"}
    )
    assert problem(elsewhere, 403) == "urn:kvasir:foreign-page"
    assert problem(httpx.get(f"{guarded.url}/api/v1/collection", headers=origin), 401)


def test_a_browser_is_asked_for_a_password_whatever_it_reads(guarded: Any) -> None:
    for path in ("/", "/api/v1/docs", "/api/v1/images/3/picture", "/metrics"):
        answer = httpx.get(f"{guarded.url}{path}")
        assert answer.status_code == 401
        assert answer.headers.get_list("WWW-Authenticate") == ['Basic realm="kvasir"', 'Bearer realm="kvasir"']
    written = httpx.delete(f"{guarded.url}/api/v1/images/3", auth=("me", guarded.key))
    assert written.headers.get_list("WWW-Authenticate") == ['Bearer realm="kvasir"']


def test_who_has_no_key_learns_nothing_of_the_collection(guarded: Any) -> None:
    page = httpx.get(guarded.url)
    assert "drawn" not in page.text  # the collection's name
    assert "the password is the key" in page.text
    assert "Authorization" not in page.text
    assert "drawn" in httpx.get(guarded.url, auth=("me", guarded.key)).text


def every_path(collection: Path) -> list[str]:
    """An address of each rule of the application."""
    rules = create_app(Settings(collection), background=False).url_map.iter_rules()
    return sorted({re.sub(r"<[^>]+>", "3", rule.rule) for rule in rules})


@pytest.mark.parametrize("accept", ["text/html", "application/json", "image/svg+xml"])
def test_no_answer_without_a_key_has_the_collections_name(guarded: Any, accept: str) -> None:
    paths = [*every_path(guarded.collection), *UNKNOWN, "/answer?image=3", "/queries/x.jpg"]
    assert {"/map/", "/api/v1/map", "/map/selection.csv", "/api/v1/images/3/reasons", "/compare"} <= set(paths)
    open_to_all = {"/healthz", "/readyz", "/classes.css", "/static/3", "/static/nosuch"}
    with httpx.Client(base_url=guarded.url, headers={"Accept": accept}) as client:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            for path in paths:
                answer = client.request(method, path)
                assert answer.status_code < 500
                for name in ("drawn", "secret"):
                    assert name not in f"{answer.headers}{answer.text}", (method, path)
                if method in ("GET", "POST"):
                    assert answer.status_code == 401 or path in open_to_all, (method, path)


def test_many_wrong_keys_are_too_many_and_a_right_one_is_served(guarded: Any) -> None:
    reading, writing = f"{guarded.url}/api/v1/collection", f"{guarded.url}/api/v1/images/3"
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.9")) as client:
        wrong = [client.get(reading, headers={"X-API-Key": f"kvasir_0_{number}"}) for number in range(20)]
        assert {problem(answer, 401) for answer in wrong} == {"urn:kvasir:key-needed"}
        for answer in (
            client.get(reading, headers={"Authorization": "Bearer nonsense"}),
            client.get(reading, auth=("me", "guess")),
            client.delete(writing, headers={"X-API-Key": "kvasir_1_2"}),
        ):
            assert problem(answer, 429) == "urn:kvasir:too-many-keys"
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert problem(client.get(reading), 401)  # who sends none is told what is needed
        assert client.get(reading, headers={"X-API-Key": guarded.key}).status_code == 200
    assert problem(httpx.get(reading, headers={"X-API-Key": "kvasir_0_0"}), 401)  # of another address


def test_health_and_metrics_answer_programs_as_programs(guarded: Any, served: Any) -> None:
    assert problem(httpx.get(f"{guarded.url}/metrics", headers={"Accept": "*/*"}), 401) == "urn:kvasir:key-needed"
    assert problem(httpx.post(f"{served.url}/healthz"), 405)


def test_the_document_tells_how_a_key_is_sent(guarded: Any, served: Any) -> None:
    document = httpx.get(f"{guarded.url}/api/v1/openapi.json", auth=("me", guarded.key)).json()
    schemes = document["components"]["securitySchemes"]
    assert {(one["type"], one.get("scheme", one.get("name"))) for one in schemes.values()} == {
        ("http", "bearer"),
        ("http", "basic"),
        ("apiKey", "X-API-Key"),
    }
    assert document["security"] == [{"key": []}, {"header": []}, {"password": []}]
    assert document["paths"]["/api/v1/images"]["post"]["security"] == [{"key": []}, {"header": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in httpx.get(f"{served.url}/api/v1/openapi.json").json()


# Requests that are none


@pytest.mark.parametrize("length", [9_000, 60_000])
def test_an_address_or_headers_too_long_are_problems_too(served: Any, length: int) -> None:
    long = httpx.get(f"{served.url}/api/v1/images?cursor={'1' * length}")
    assert problem(long, 414) == "urn:kvasir:request-uri-too-long"
    heads = httpx.get(f"{served.url}/healthz", headers={f"X-{n}": "a" * (length // 100) for n in range(120)})
    assert problem(heads, 431) == "urn:kvasir:request-header-fields-too-large"
    assert long.json()["request_id"] in served.log.read_text()


def test_what_is_not_http_is_told_so(served: Any) -> None:
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"HELLO\r\n\r\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400


def test_many_faults_are_told_in_a_short_answer(served: Any) -> None:
    answer = httpx.post(f"{served.url}/api/v1/search", json={"vector": ["x"] * 90_000, "k" * 100_000: 1}, timeout=60)
    assert problem(answer, 422) == "urn:kvasir:invalid-request"
    assert len(answer.json()["faults"]) == 20
    assert len(answer.content) < 5_000


def test_what_is_wrong_is_told_without_the_words_of_a_library(served: Any) -> None:
    for region, told in (("0.5,0.5,0.6,0.2", "must lie inside the picture"), ("0,0,0,1", "must have a width")):
        answer = httpx.get(f"{served.url}/api/v1/images/3/similar?region={region}")
        assert answer.json()["faults"][0]["message"].startswith(told)
        assert answer.json()["detail"].startswith(f"region: {told}")


def test_an_upload_of_unknown_length_is_told_the_limit(served: Any) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(2**20)

    answer = httpx.post(
        f"{served.url}/api/v1/search", content=parts(), headers={"Content-Type": "image/jpeg"}, timeout=60
    )
    assert problem(answer, 413)
    assert "27" not in answer.json()["detail"]
    assert "20 MiB" in answer.json()["detail"]


def test_a_damaged_picture_leaves_no_warnings_in_the_log(
    served: Any, encode_file: Callable[..., bytes], draw: Callable[..., Any]
) -> None:
    whole = encode_file(draw(5), "TIFF")
    before = len(served.log.read_bytes())
    for cut in (60, 136):  # in the directory, and in what it points to
        assert httpx.post(f"{served.url}/api/v1/search", files={"image": whole[:cut]}).status_code == 415
    said = served.log.read_bytes()[before:].decode()
    assert "PIL" not in said
    assert "py.warnings" not in said


# Clients that stop in the middle


@pytest.fixture(scope="module")
def impatient(serve: Callable[..., Any], two_spaces: Path) -> Any:
    return serve(two_spaces, first="import web.serving.connection; web.serving.connection.STALLED = 1")


HEAD = b"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize("begun", [HEAD[:60], HEAD, HEAD + b"abc"], ids=["half a head", "no body", "half a body"])
def test_a_client_that_stops_in_its_request_is_told_and_let_go(impatient: Any, begun: bytes) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(impatient.url).port), timeout=20) as client:
        client.sendall(begun)
        answer = b"".join(iter(lambda: client.recv(65536), b""))  # to the end, for the server closes the connection
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body)["type"] == "urn:kvasir:request-timeout"
    assert b"Traceback" not in impatient.log.read_bytes()


def test_a_client_that_is_slow_but_goes_on_is_answered(
    impatient: Any, draw: Callable[..., Image.Image], encode_file: Callable[..., bytes]
) -> None:
    picture = encode_file(draw(77))

    def dripping() -> Iterator[bytes]:
        for start in range(0, len(picture), len(picture) // 4):
            time.sleep(0.4)
            yield picture[start : start + len(picture) // 4]

    headers = {"Content-Type": "image/jpeg", "Content-Length": str(len(picture))}
    answer = httpx.post(f"{impatient.url}/api/v1/search", content=dripping(), headers=headers, timeout=30)

    assert answer.status_code == 200, answer.text


def test_a_form_field_in_place_of_a_file_is_not_called_too_large_a_picture(served: Any) -> None:
    answer = httpx.post(f"{served.url}/api/v1/search", files={"image": (None, "x" * 700_000)})

    assert problem(answer, 413) == "urn:kvasir:request-entity-too-large"
    assert "as a file" in answer.json()["detail"]
