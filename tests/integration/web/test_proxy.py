"""Behind a reverse proxy that serves under a prefix: every address that an answer names lies under it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from web.app import create_app
from web.context import Settings

PREFIX = "/lab/images/0/ID/kvasir"


@pytest.fixture(scope="module")
def behind(serve: Callable[..., Any], two_spaces: Path) -> Any:
    return serve(two_spaces, "--rate", "off", "--proxies", "1")


def test_every_address_lies_under_the_prefix_of_the_proxy(behind: Any, proxy: Callable[..., Any], indexed: Any) -> None:
    proxied = proxy(behind, PREFIX)
    picture = (indexed.data / "polyps" / "3.jpg").read_bytes()
    with httpx.Client(base_url=proxied.url, timeout=60) as api:
        # REST: links of images and hits, Location, the OpenAPI document
        image = api.get("/api/v1/images?limit=1").json()["images"][0]
        hit = api.post("/api/v1/search", files={"image": picture}).json()["hits"][0]
        for address in (*image["links"].values(), *hit["links"].values()):
            assert address.startswith(f"{PREFIX}/api/v1/images/")
            assert httpx.get(f"http://{urlsplit(proxied.url).netloc}{address}").status_code == 200
        assert api.get("/api/v1/openapi.json").json()["servers"] == [{"url": PREFIX}]
        job = api.post("/api/v1/evaluations", json={"samples": 0})
        assert job.headers["Location"].startswith(f"{PREFIX}/api/v1/evaluations/")
        # Pages: redirects and the cookie
        found = api.post("/search", files={"picture": picture}, data={"k": "3"})
        assert found.status_code == 303
        assert urlsplit(found.headers["Location"]).path == f"{PREFIX}/results"
        told = api.post("/search", files={"picture": picture}, headers={"Accept": "application/json"})
        assert told.json()["location"].startswith(f"{PREFIX}/results?")
        switched = api.post("/theme", data={"to": "light", "back": f"{PREFIX}/collection/"})
        assert switched.headers["Location"] == f"{PREFIX}/collection/"
        assert f"Path={PREFIX};" in switched.headers["Set-Cookie"]
        assert api.post("/theme", data={"back": "//evil.example"}).headers["Location"] == f"{PREFIX}/"
        assert urlsplit(api.get("/collection").headers["Location"]).path == f"{PREFIX}/collection/"
    assert not proxied.strayed


def test_all_that_pages_link_to_is_there(behind: Any, proxy: Callable[..., Any], indexed: Any) -> None:
    proxied = proxy(behind, PREFIX)
    root = proxied.url.removesuffix(PREFIX)
    with httpx.Client(base_url=root, timeout=60) as api:
        picture = (indexed.data / "polyps" / "3.jpg").read_bytes()
        answer = api.post(f"{PREFIX}/search", files={"picture": picture}, data={"k": "30"}).headers["Location"]
        evaluation = api.post(f"{PREFIX}/api/v1/evaluations", json={"samples": 0}).headers.get("Location")
        while evaluation and api.get(evaluation).json()["state"] == "running":
            pass
        seen: set[str] = set()
        ahead = [f"{PREFIX}/", urlsplit(answer).path + "?" + urlsplit(answer).query]
        while ahead:
            address = ahead.pop()
            page = api.get(address)
            assert page.status_code == 200, address
            if page.headers["Content-Type"].startswith("text/html") and "attachment" not in str(page.headers):
                for name, link in re.findall(r' (href|src|action|data-job|data-document)="([^"#]+)"', page.text):
                    path, query = urlsplit(link)[2:4]
                    # A page of each kind, not of each image
                    kind = re.sub(r"\d+", "N", f"{path}?{query.partition('=')[0]}")
                    if name != "action" and kind not in seen and not link.startswith("data:"):
                        seen.add(kind)
                        ahead.append(link.replace("&amp;", "&"))
                    assert link.startswith((PREFIX, "data:")), f"{address} leads to {link}"
    assert len(seen) > 20
    assert not proxied.strayed


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "kvasir", "/a//b", "/a?b", "/a b", "/a\\b", "/../x", "https://e.example"]
)
def test_a_prefix_that_is_no_path_is_refused(behind: Any, prefix: str) -> None:
    refused = httpx.get(f"{behind.url}/api/v1/images", headers={"X-Forwarded-Prefix": prefix})
    assert refused.status_code == 400
    assert refused.json()["type"] == "urn:kvasir:bad-prefix"


@pytest.mark.parametrize("prefix", ["/", "/kvasir/", "/a/b-c_d.e~f"])
def test_a_slash_at_the_end_of_a_prefix_is_no_second_one(behind: Any, prefix: str) -> None:
    image = httpx.get(f"{behind.url}/api/v1/images?limit=1", headers={"X-Forwarded-Prefix": prefix}).json()["images"][0]
    assert image["links"]["self"] == f"{prefix.rstrip('/')}/api/v1/images/{image['id']}"
    page = httpx.get(f"{behind.url}/", headers={"X-Forwarded-Prefix": prefix}).text
    assert f'href="{prefix.rstrip("/")}/static/page.css"' in page


def test_nothing_of_a_proxy_is_believed_without_proxies(served: Any, two_spaces: Path) -> None:
    headers = {
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Script-Name": "/evil",
        "Script_Name": "/evil",
    }
    image = httpx.get(f"{served.url}/api/v1/images?limit=1", headers=headers).json()["images"][0]
    assert image["links"]["self"] == f"/api/v1/images/{image['id']}"
    page = httpx.get(f"{served.url}/results?image=3", headers=headers).text
    assert f'value="{served.url}/results?image=3"' in page
    assert "evil" not in page
    document = httpx.get(f"{served.url}/api/v1/openapi.json", headers=headers).json()
    assert "servers" not in document
    client = create_app(Settings(two_spaces), background=False).test_client()
    assert "evil" not in client.get("/", headers=headers).get_data(as_text=True)
