"""What the server refuses: files, other hosts, other pages, strangers, and files forged into a request."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from aliasfree.app import guard
from aliasfree.app.guard import Guard
from tests.app.conftest import ODD
from tests.app.talk import ask, function, open_page, visitor

pytestmark = pytest.mark.xdist_group("browser")  # the same server as the browser's


@pytest.fixture
def client(served):
    with visitor(served.address) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "secret.txt",
        "{folder}/secret.txt",
        "{folder}/runs/a/config.json",
        "runs/a/losses.csv",
        "../secret.txt",
        "%2e%2e/secret.txt",
        "..%2f..%2fetc/passwd",
        "{uploads}/../{folder}/secret.txt",
        "http://127.0.0.1:1/x",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize(
    "route", ["/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/", "/svelte/"]
)
def test_no_file_of_this_machine_is_served(client, networks, route, path):
    asked = route + path.format(folder=networks, uploads="/tmp")
    answer = client.get(asked)
    assert answer.status_code in (400, 403, 404), asked
    assert b"secret of" not in answer.content
    assert b"root:" not in answer.content


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/runs",
        "/gradio_api/run-history/buckets",
        "/monitoring",
        "/docs",
        "/gradio_api/dev/reload",
        "/gradio_api/stream/x/y/1/playlist.m3u8",
    ],
)
def test_pages_that_the_studio_does_not_need_are_not_there(client, path):
    assert client.get(path).status_code == 404


def test_components_have_no_functions_that_can_be_called_and_there_is_no_api(client):
    for path in (
        "/gradio_api/component_server",
        "/gradio_api/call/load",
        "/gradio_api/run/load",
        "/gradio_api/api/load",
    ):
        assert client.post(path, json={"data": []}).status_code == 404


def test_another_host_is_not_answered_and_this_one_is(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"Host": "localhost:1"}).status_code == 200


def test_a_stranger_without_a_cookie_gets_one_with_the_page_and_can_do_nothing_before(served):
    with httpx.Client(base_url=served.address, timeout=60) as stranger:
        joined = stranger.post("/gradio_api/queue/join", json={"data": [], "fn_index": 0, "session_hash": "x"})
        assert joined.status_code == 403
        page = stranger.get("/")
        cookie = page.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie


def test_the_browser_is_told_to_ask_no_other_machine(client):
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|\*", policy)


@pytest.mark.parametrize("forged", ["{folder}/secret.txt", "{folder}/private.png", "/etc/passwd"])
def test_a_request_with_a_forged_file_does_not_reach_it(client, networks, forged):
    told = _forged(client, forged.format(folder=networks))
    assert "400: That file was not sent" in told
    assert "secret of" not in told
    assert "af-chart" not in told


def test_an_address_in_the_place_of_a_file_is_not_even_looked_up(client, served):
    for address in ("http://elsewhere.example/x.png", "http://127.0.0.1:1/x.png"):
        assert "400: That file was not sent" in _forged(client, address)
    assert "elsewhere" not in (served.outside.read_text() if served.outside.exists() else "")


def _forged(client, path: str) -> str:
    file = {"path": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(RuntimeError) as refused:
        ask(client, function(open_page(client), "compare"), ["D-2N", "D-hq", "photograph", file])
    return str(refused.value)


def test_folders_that_are_left_out_are_named_on_the_page(client):
    config = open_page(client)
    load = next(d["id"] for d in config["dependencies"] if any(event == "load" for _, event in d["targets"]))
    assert f"{len(ODD)} folders are left out" in ask(client, load, [])


def test_a_name_that_is_not_offered_is_refused_whoever_sends_it(client, networks):
    config = open_page(client)
    number = function(config, "find-layers")
    told = ask(client, number, [str(networks)])
    assert "not in the list" in told or "never offered" in told or '"success": false' in told
    assert "<table" not in told


def test_settings_of_the_page_name_no_folder_of_the_machine_beyond_those_offered(client, networks):
    text = json.dumps(client.get("/config").json())
    assert str(Path.home()) not in text
    assert str(networks) not in text


async def _status(app: Guard, path: str = "/", **headers: str) -> int:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
        return (await client.get(path, headers=headers)).status_code


async def _open(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/file=x", "/gradio_api/upload", "/assets/index.js"])
def test_the_password_is_asked_for_on_every_page(path, monkeypatch):
    monkeypatch.setattr(guard, "WRONG_PASSWORD_SECONDS", 0.0)
    app = Guard(_open, None, "a long password", "c")

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    asked = [
        ({}, 401),
        ({"Authorization": basic("me:a wrong password")}, 401),
        ({"Authorization": basic("a long password")}, 401),
        ({"Authorization": "Basic !!!"}, 401),
        ({"Authorization": "Bearer a long password"}, 401),
        ({"Authorization": basic("me:a long password")}, 200),
        ({"Authorization": basic(":a long password")}, 200),
    ]
    for headers, status in asked:
        with ThreadPoolExecutor(1) as apart:  # Playwright has a loop of its own in this thread
            assert apart.submit(asyncio.run, _status(app, path, **headers)).result() == status, headers
