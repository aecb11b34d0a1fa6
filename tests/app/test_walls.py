"""What one visitor or one odd folder must not do to all: giant models, pipes, long requests, guesses, what is left."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from aliasfree.app import apart, guard, uploads
from aliasfree.app.guard import Guard
from aliasfree.app.jobs import Jobs
from aliasfree.app.networks import Networks
from aliasfree.app.uploads import Quota, uploads_folder
from aliasfree.app.visitors import new_token
from aliasfree.app.weights import check_weights
from aliasfree.errors import ArgumentError
from tests.app.conftest import ODD, make_odd


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny UNet2DModel."""
    from diffusers import UNet2DModel

    folder = tmp_path_factory.mktemp("model")
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(4, 4), norm_num_groups=2, layers_per_block=1,
        **blocks,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers_per_block": 1_000_000}, "asks for 1000000 in layers_per_block, and its weights have"),
        ({"transformer_layers_per_block": [[10**9]]}, "asks for 1000000000 in transformer_layers_per_block"),
        ({"block_out_channels": [10**8, 10**8]}, "asks for 100000000 in block_out_channels"),
        ({"down_block_types": ["DownBlock2D"] * 100_000}, "asks for 100000 in the length of down_block_types"),
        ({"attention_head_dim": 10**9}, "asks for 1000000000 in attention_head_dim"),
    ],
)
def test_a_config_that_asks_for_more_than_the_weights_hold_is_refused_before_anything_is_built(
    model, tmp_path, changes, words
):
    check_weights(model)
    shutil.copytree(model, tmp_path / "giant")
    config = json.loads((model / "config.json").read_text())
    (tmp_path / "giant" / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(ArgumentError, match=words):
        check_weights(tmp_path / "giant")


@pytest.mark.parametrize(
    "header", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", (8).to_bytes(8, "little") + b'{"a": 1}']
)
def test_a_damaged_header_of_weights_is_told(model, tmp_path, header):
    shutil.copy(model / "config.json", tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(header)
    if header:
        with pytest.raises(ArgumentError, match="are damaged; save the model again"):
            check_weights(tmp_path)


@pytest.fixture
def strangers(monkeypatch) -> Any:
    """Work that goes wrong, importable in another process, which need not know more."""
    monkeypatch.setattr(apart, "LIBRARIES", [])
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("strangers")


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("hoard", "takes more than 0.3 GB"),
        ("die", "The process that looked at the model died"),
        ("be_wrong", "The model cannot be used (KeyError: 'of the model'); save it again."),
    ],
)
def test_work_on_a_stranger_s_model_that_goes_wrong_is_told_and_ends_nothing_else(strangers, task, words):
    jobs = Jobs()
    job = jobs.submit("me", "x", "x", lambda job: apart.run_apart(job, getattr(strangers, task), memory=300_000_000))
    assert jobs.wait(job, 300)
    assert words in job.error
    after = jobs.submit("me", "x", "x", lambda job: apart.run_apart(job, strangers.work))
    assert jobs.wait(after, 300)
    assert after.result not in (None, os.getpid())
    jobs.close()


def test_cancelling_kills_the_process_that_works_on_a_stranger_s_model(strangers):
    jobs = Jobs()
    job = jobs.submit("me", "x", "x", lambda job: apart.run_apart(job, strangers.hang))
    while job.total != 2 and not job.over:
        time.sleep(0.01)
    jobs.cancel(job)
    assert jobs.wait(job, 300)
    assert job.state == "cancelled"
    jobs.close()


def test_odd_folders_are_left_out_and_named_and_all_others_are_offered(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    make_odd(tmp_path / "runs")
    shutil.copytree(model, tmp_path / "runs" / "model")
    networks = Networks()
    assert networks.models() == ["runs/model"]
    said = "\n".join(networks.skipped())
    for name, words in ODD.items():
        assert f"{name}: " in said
        assert words in said
    assert len(networks.skipped()) == len(ODD)
    with pytest.raises(ArgumentError, match=r"runs/z-pipe is not offered: its config\.json is no regular file"):
        networks.find("runs/z-pipe")


def test_a_pipe_in_the_place_of_a_file_of_a_run_is_told_and_not_opened(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "runs" / "model")
    os.mkfifo(tmp_path / "runs" / "model" / "more.safetensors")
    with pytest.raises(ArgumentError, match=r"more.safetensors is no regular file"):
        Networks().model("runs/model")


def test_a_folder_that_goes_while_it_is_looked_at_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "runs" / "a").mkdir(parents=True)

    def gone(path):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(os, "scandir", gone)
    networks = Networks(home=tmp_path / "runs")
    assert networks.survey() == []


def test_a_visitor_and_all_together_may_send_so_much_in_an_hour(monkeypatch):
    quota = Quota()
    for visitor in "abcd":
        quota.take(visitor, 4_000_000_000)
    with pytest.raises(ArgumentError, match=r"You have sent 4\.0 of 4 GB"):
        quota.take("a", 1)
    with pytest.raises(ArgumentError, match="The studio's visitors have sent too much"):
        quota.take("e", 1)
    monkeypatch.setattr(uploads, "AGE", -1.0)
    quota.take("a", 1)


def test_what_a_killed_server_has_left_is_removed_at_the_next_start_and_no_other_s(tmp_path, monkeypatch):
    code = (
        "import os, signal\nfrom aliasfree.app.uploads import uploads_folder\n"
        "with uploads_folder() as folder:\n (folder / 'sent').mkdir()\n os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False, timeout=600)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (left,) = tmp_path.iterdir()
    assert (left / "sent").is_dir()
    (tmp_path / "aliasfree-studio-other").mkdir()  # of no server
    with uploads_folder() as first:
        assert not left.exists()
        with uploads_folder() as second:
            assert first.is_dir()
            assert second.is_dir()
        assert not second.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["aliasfree-studio-other"]


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}


def apart_from_playwright(coroutine):
    with ThreadPoolExecutor(1) as thread:  # which has a loop of its own in this one
        return thread.submit(asyncio.run, coroutine).result()


def test_guesses_in_parallel_wait_in_one_line_that_is_bounded_and_who_is_in_passes_by(monkeypatch):
    token, most, inside, line = new_token(), 0, 0, asyncio.Event()

    async def sleep(_: float) -> None:
        nonlocal most, inside
        inside += 1
        most = max(most, inside)
        await line.wait()
        inside -= 1

    async def check() -> None:
        app = Guard(PlainTextResponse("in"), None, "a long password", "c")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://studio") as client:
            known = {**basic("a long password"), "Cookie": f"c={token}"}
            assert (await client.get("/", headers=known)).status_code == 200
            monkeypatch.setattr(guard.asyncio, "sleep", sleep)
            tries = [asyncio.create_task(client.get("/", headers=basic(f"guess {k}"))) for k in range(guard.GUESSES)]
            while app._guesses < guard.GUESSES:
                await asyncio.tasks.__sleep0()
            assert (await client.get("/", headers=basic("one more"))).status_code == 429
            assert (await client.get("/", headers=known)).status_code == 200
            line.set()
            assert {(await one).status_code for one in tries} == {401}

    apart_from_playwright(check())
    assert most == 1


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"[" * 100_000, 400),
        (b"no JSON", 400),
        (b'{"data": ["' + b"x" * 2**21 + b'"]}', 413),
        (b'{"data": ["' + b"x" * 5000 + b'"]}', 413),
        (b'{"session_hash": "../x"}', 400),
        (b'{"session_hash": "full"}', 429),
        (b'{"data": [{"path": "http://elsewhere.example/x"}]}', 400),
        (b'{"data": [[{"path": "/etc/passwd"}]]}', 400),
        (b'{"data": [{"path": 7}]}', 400),
        (b'{"data": [1], "session_hash": "abc"}', 200),
    ],
)
def test_a_request_is_refused_before_gradio_reads_it(content, status):
    app = Guard(PlainTextResponse("in"), None, None, "c", unread=lambda name: guard.UNREAD * (name == "full"))

    async def check() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://studio") as client:
            return (
                await client.post("/gradio_api/queue/join", content=content, headers={"Cookie": f"c={new_token()}"})
            ).status_code

    assert apart_from_playwright(check()) == status


def test_an_upload_says_its_length_and_is_counted_before_it_is_taken():
    app = Guard(PlainTextResponse("in"), None, None, "c")
    token = new_token()

    async def send(**headers: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://studio") as client:
            request = client.build_request("POST", "/gradio_api/upload", headers={"Cookie": f"c={token}", **headers})
            if not headers:
                del request.headers["content-length"]
            return (await client.send(request)).status_code

    assert apart_from_playwright(send()) == 411
    assert apart_from_playwright(send(**{"Content-Length": "4000000000"})) == 200
    assert apart_from_playwright(send(**{"Content-Length": "1"})) == 413
