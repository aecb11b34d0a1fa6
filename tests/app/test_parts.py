"""Visitors, limits, what is offered, and how it is shown: the studio without a browser."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from aliasfree.app import limits, moving, render, server
from aliasfree.app.networks import Networks
from aliasfree.app.trainings import Trainings
from aliasfree.app.visitors import MOST, Recent, Visitors, is_token, new_token
from aliasfree.cli import app
from aliasfree.errors import AliasfreeError, ArgumentError


def test_visitors_are_kept_apart_and_the_one_away_for_longest_is_forgotten():
    busy = new_token()
    visitors = Visitors(lambda token: token == busy)
    first = new_token()
    visitors.find(busy).results["x"] = "working"
    visitors.find(first).results["x"] = "mine"
    for _ in range(MOST + 5):
        assert visitors.find(new_token()).results == {}
    assert len(visitors) == MOST
    assert visitors.find(first).results == {}
    assert visitors.find(busy).results == {"x": "working"}


def test_models_are_kept_of_the_last_visitors_alone_and_one_of_each():
    models = Recent(most=2)
    for token in ("a", "b", "a", "c"):
        models.put(token, f"model of {token}")
    assert [models.get(token) for token in "abc"] == ["model of a", None, "model of c"]


def test_gradio_keeps_the_state_of_the_last_pages_alone(tmp_path, monkeypatch):
    gradio = pytest.importorskip("gradio")
    pages, mount = [], gradio.mount_gradio_app

    def mounted(outer, page, *arguments, **options):
        pages.append(page)
        return mount(outer, page, *arguments, **options)

    monkeypatch.setattr(gradio, "mount_gradio_app", mounted)
    monkeypatch.setattr(server, "SESSIONS", 3)
    _, close = server._application(Networks(home=tmp_path), "127.0.0.1", 1, None)
    try:
        states = pages[0].state_holder
        for k in range(9):
            states[str(k)]
        assert [str(k) in states for k in range(9)] == [False] * 6 + [True] * 3
    finally:
        close()


@pytest.mark.parametrize("text", [None, "", "../../etc/passwd", "A" * 32, "0" * 31, "0" * 33])
def test_what_is_no_token_of_ours_is_none(text):
    assert not is_token(text)
    assert is_token(new_token())


@pytest.mark.parametrize("value", [0, 251, 2.5, None, "7", float("nan"), float("inf"), True])
def test_a_number_out_of_bounds_is_refused(value):
    with pytest.raises(ArgumentError, match=r"`steps` must be a whole number from 1 to 250, not "):
        limits.whole(value, "steps", 1, 250)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "/etc", "a" * 65, ".hidden", "a b", None, "ä"])
def test_a_name_that_could_be_a_path_is_refused(name):
    with pytest.raises(ArgumentError, match="A name has up to 64 letters"):
        limits.folder_name(name)


def test_a_photograph_becomes_a_square_of_a_size_that_can_be_halved(tmp_path):
    Image.fromarray(np.zeros((300, 1000, 3), np.uint8)).save(tmp_path / "wide.png")
    Image.fromarray(np.full((50, 70), 255, np.uint8)).save(tmp_path / "grey.png")
    assert limits.photograph(tmp_path / "wide.png").shape == (1, 3, 192, 192)
    grey = limits.photograph(tmp_path / "grey.png")
    assert grey.shape == (1, 1, 48, 48)
    assert grey.min() == grey.max() == 1
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(ArgumentError, match="at least 16 pixels"):
        limits.photograph(tmp_path / "small.png")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_unpacked(tmp_path):
    Image.new("1", (8000, 8000)).save(tmp_path / "bomb.png")
    with pytest.raises(ArgumentError, match="megapixels"):
        limits.photograph(tmp_path / "bomb.png")


def test_a_file_that_was_not_sent_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "sent"))
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "link").symlink_to("/etc/passwd")
    assert limits.uploaded(tmp_path / "sent" / "x.png") == tmp_path / "sent" / "x.png"
    for path in (tmp_path / "x.png", tmp_path / "sent" / ".." / "x.png", tmp_path / "sent" / "link", "/etc/passwd"):
        with pytest.raises(ArgumentError, match="was not sent"):
            limits.uploaded(path)
    monkeypatch.delenv("GRADIO_TEMP_DIR")
    with pytest.raises(ArgumentError, match="was not sent"):
        limits.uploaded(tmp_path / "sent" / "x.png")


def test_messages_and_names_are_shown_as_text():
    assert render.error("`steps` <b>{{x}}</b>") == (
        '<p class="af-error" role="alert"><b aria-hidden="true">⚠</b> <code>steps</code> &lt;b&gt;{{x}}&lt;/b&gt;</p>'
    )
    assert "<script>" not in render.tiles("<script>", [])


def test_only_what_is_offered_is_opened(networks, monkeypatch):
    monkeypatch.chdir(networks)
    offered = Networks([Path("model")])
    assert {"runs/a", "runs/t"} <= set(offered.runs())
    assert offered.models()[0] == "model"
    for name in ("/etc", "runs/../runs/a", "runs", "../studio/runs/a", str(networks / "runs" / "a"), None, ""):
        with pytest.raises(ArgumentError):
            offered.find(name)
    with pytest.raises(ArgumentError, match="is a diffusers model, no run"):
        offered.run("model")
    assert offered.classes(["runs/a", "runs/t"]) == 10


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="holds neither a run nor a diffusers model"):
        Networks([tmp_path])
    with pytest.raises(ArgumentError, match="There is no folder"):
        Networks([tmp_path / "none"])


def test_the_difference_is_told_by_orange_and_blue_and_grey_where_nothing_can_be_compared():
    wanted = torch.zeros(1, 1, 1, 3)
    got = torch.tensor([1.0, -1.0, 1.0]).reshape(1, 1, 1, 3)
    mask = torch.tensor([True, True, False]).reshape(1, 1, 1, 3)
    pixels = np.asarray(moving._difference(got, wanted, mask))[0]
    assert pixels.tolist() == [list(moving.ORANGE), list(moving.BLUE), [160] * 3]


def test_frames_that_were_made_once_are_kept_within_bounds(monkeypatch):
    monkeypatch.setattr(moving, "KEPT_BYTES", 4 * (100 + moving.FRAME_BYTES))
    mover = moving.Mover(Networks())
    for k in range(9):
        mover._frames.put(k, torch.zeros(25))
    assert [k for k in range(9) if mover._frames.get(k) is not None] == [5, 6, 7, 8]


def test_another_visitor_cannot_stop_a_training_and_a_folder_elsewhere_is_not_gone_on_with(networks, tmp_path):
    trainings = Trainings(networks / "runs")
    with pytest.raises(ArgumentError, match="is not being trained by the studio"):
        trainings.stop("me", networks / "runs" / "a")
    with pytest.raises(ArgumentError, match="only; use `aliasfree train --resume`"):
        Trainings(tmp_path).resume("me", networks / "runs" / "a", 10)
    settings = {"config": "A", "data": "/etc", "steps": 1, "image_size": 8, "base_channels": 4, "seed": 0}
    with pytest.raises(ArgumentError, match="The studio trains on one of: "):
        trainings.start("me", {"name": "new", **settings})
    with pytest.raises(AliasfreeError, match="There is a run in"):
        trainings.start("me", {"name": "a", **settings, "data": "digits"})


def run_cli(*arguments: str, **environment: str) -> str:
    done = CliRunner().invoke(app, ["app", *arguments], env={"COLUMNS": "300", **environment})
    assert done.exit_code == 2, done.output
    return done.output


def test_listening_elsewhere_needs_a_password():
    said = run_cli("--listen", "0.0.0.0", "--no-browser")
    assert "needs a --password, or ALIASFREE_PASSWORD" in said
    assert "at least 8 characters" in run_cli("--listen", "0.0.0.0", "--no-browser", ALIASFREE_PASSWORD="short")


def test_without_gradio_the_command_says_which_extra_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'aliasfree[app]'" in run_cli("--no-browser")


def test_a_port_that_is_taken_is_told(served):
    port = served.address.rpartition(":")[2]
    assert f"Cannot listen at 127.0.0.1, port {port}" in run_cli("--no-browser", "--port", port)


def test_a_stream_stays_open_until_its_page_is_left():
    from aliasfree.app.server import OpenStreams

    streams = OpenStreams()
    streams["page"] = set()
    streams["page"].add("question")
    streams["page"].remove("question")
    assert streams["page"]  # what Gradio closes a stream by
    streams["page"] -= {"another"}  # what it does when a page is left
    assert not streams["page"]
