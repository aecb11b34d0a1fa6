"""The studio as its users meet it: Chromium against the real server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image

import aliasfree

pytestmark = pytest.mark.xdist_group("browser")  # one server and one browser for all

PATIENCE = 300_000
"""Milliseconds, to end what hangs; the machine may have much else to do."""
VIOLATION = "addEventListener('securitypolicyviolation', e => { throw new Error('blocked: ' + e.blockedURI) })"
"""What a page is not allowed to ask for becomes an error of the page."""
TABS = ("Move", "Inside", "Filters", "Training", "Convert")


@pytest.fixture(scope="module")
def first_context(browser) -> Iterator[Any]:
    """Shared by all tests, so that Chromium has Gradio's scripts compiled after the first."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def visit(browser, first_context, served) -> Iterator[Callable[..., Any]]:
    """visit() opens the page as a new visitor; uncaught errors, answers of 400 and above and requests elsewhere fail
    the test. What libraries and the browser write into the console is theirs, such as of a fetch that a page that goes
    gives up."""
    pages, contexts, wrong = [], [], []

    def told(kind: str, text: str) -> None:
        wrong.append(f"{kind}: {text}")

    def open_page(width: int = 1280, height: int = 900, scheme: str = "light") -> Any:
        context = first_context
        if pages:  # another visitor, who has a cookie of its own
            contexts.append(context := browser.new_context())
            context.set_default_timeout(PATIENCE)
        context.clear_cookies()
        pages.append(page := context.new_page())
        page.add_init_script(VIOLATION)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        page.on("pageerror", lambda e: None if e.name == "AbortError" else told("error", str(e)))
        page.on("response", lambda r: told("answer", f"{r.status} {r.url}") if r.status >= 400 else None)
        page.on(
            "request", lambda r: None if r.url.startswith((served.address, "data:", "blob:")) else told("asks", r.url)
        )
        page.goto(served.address)
        page.wait_for_selector("#move-view figure")
        settled(page)
        return page

    yield open_page
    for opened in (*pages, *contexts):
        opened.close()
    assert not wrong


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def settled(page: Any) -> None:
    """Wait for the picture in full."""
    page.wait_for_function("/dB|exact/.test(document.querySelector('#move-view h3')?.innerText)")


def pictures(page: Any) -> list[str]:
    """What is sampled in motion, a picture a run."""
    rows = "[...document.querySelectorAll('#move-view .af-row')]"
    return page.evaluate(f"{rows}.map(row => row.querySelectorAll('figure')[1].querySelector('img').src)")


def fill(page: Any, label: str, value: object, exact: bool = True) -> None:
    field = page.get_by_label(label, exact=exact).locator("visible=true").first
    field.fill(str(value))
    field.press("Tab")


def value(page: Any, label: str) -> str:
    return page.get_by_label(label).locator("visible=true").first.input_value()


def make_film(page: Any, frames: int, steps: int) -> None:
    fill(page, "Frames", frames)
    fill(page, "Steps", steps)
    page.locator("#make-film").click()


def changed(page: Any, before: list[str]) -> list[str]:
    """The pictures, when they are others than before and done in full."""
    page.wait_for_function(
        "before => document.querySelector('#move-view .af-row').querySelectorAll('figure')[1].querySelector('img').src"
        " != before", arg=before[0]
    )  # fmt: skip
    settled(page)
    return pictures(page)


def choose(page: Any, element: str, value: str) -> None:
    """An option of a dropdown."""
    page.locator(f"#{element} input").click()
    page.get_by_role("option", name=value, exact=True).click()
    page.get_by_role("option").first.wait_for(state="detached")


def said(page: Any, element: str) -> str:
    page.wait_for_selector(f"#{element} .af-error")
    return page.inner_text(f"#{element} .af-error")


def test_every_tab_opens_and_nothing_is_asked_of_another_machine(visit, served):
    page = visit()
    for name in TABS:
        tab(page, name)
        assert page.get_by_role("tab", name=name).get_attribute("aria-selected") == "true"
    page.wait_for_timeout(500)
    assert not served.outside.exists(), served.outside.read_text()


def test_a_dragged_slider_changes_the_picture_and_its_release_brings_the_decibel(visit):
    page = visit()
    before = pictures(page)
    assert len(before) == 2
    slider = page.locator("#rotate input[type=range]")
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, y, steps=4)
    page.wait_for_function("document.querySelector('#move-view h3').innerText.includes('draft')")
    dragged = pictures(page)
    assert all(a != b for a, b in zip(before, dragged, strict=True))
    page.mouse.up()
    settled(page)
    assert all(a != b for a, b in zip(before, pictures(page), strict=True))
    figures = [float(text) for text in re.findall(r"(-?[\d.]+) dB", page.inner_text("#move-view"))]
    assert len(figures) == 2


def test_a_shift_by_a_fraction_of_a_pixel_keeps_t_and_not_a(visit):
    page = visit()
    page.locator("#right input[type=number]").fill("0.5")
    page.wait_for_function("(document.querySelector('#move-view').innerText.match(/[\\d.]+ dB/g) || []).length == 2")
    a, t = (float(text) for text in re.findall(r"([\d.]+) dB", page.inner_text("#move-view")))
    assert t > 60 > 40 > a


def test_a_slider_is_moved_by_the_keyboard_alone(visit):
    page = visit()
    before = pictures(page)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#rotate') && document.activeElement.type == 'range'"):
            break
    else:
        pytest.fail("the slider is not reached by the Tab key")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("/[\\d.]+ dB/.test(document.querySelector('#move-view h3').innerText)")
    assert pictures(page) != before


def test_a_button_is_pressed_by_the_keyboard(visit):
    page = visit()
    tab(page, "Filters")
    page.locator("#compare").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#filters-view .af-chart img")


def test_a_film_downloads_and_decodes(visit):
    page = visit()
    make_film(page, 6, 3)
    page.wait_for_selector("#film-view .af-download")
    files = {}
    for words in ("Save as GIF", "Save as MP4"):
        with page.expect_download() as waited:
            page.get_by_text(words).click()
        files[waited.value.suggested_filename] = waited.value.path()
    with Image.open(files["film.gif"]) as gif:
        assert gif.n_frames == 10  # there and back, without either end twice
    frames = [np.asarray(frame) for frame in imageio.get_reader(files["film.mp4"].read_bytes(), ".mp4")]
    assert len(frames) == 10
    assert np.ptp(frames[0]) > 100
    assert np.abs(frames[0].astype(int) - frames[5]).max() > 20


def test_two_visitors_at_once_see_each_their_own(visit):
    one, other = visit(), visit()
    before = pictures(one)
    assert pictures(other) == before
    fill(one, "Seed", 5)
    fill(other, "Seed", 6)
    seen = changed(one, before), changed(other, before)
    assert seen[0] != seen[1]
    for page, seed, expected in ((one, "5", seen[0]), (other, "6", seen[1])):
        page.reload()
        page.wait_for_selector("#move-view figure")
        assert pictures(page) == expected
        assert value(page, "Seed") == seed


def test_a_page_loaded_again_in_the_middle_of_a_job_shows_how_far_it_is_and_then_its_result(visit):
    page = visit()
    make_film(page, 48, 40)
    page.wait_for_selector("#film-status progress")
    page.reload()
    page.wait_for_selector("#film-status progress")
    page.wait_for_selector("#film-view .af-download")
    assert value(page, "Steps") == "40"


def test_a_job_tells_the_time_left_and_is_cancelled(visit):
    page = visit()
    make_film(page, 48, 60)
    page.wait_for_selector("#film-status >> text=/left/")
    page.locator("#film-cancel").click()
    page.wait_for_selector("#film-status >> text=/cancelled/")
    assert not page.query_selector("#film-view .af-download")


def test_wrong_numbers_are_told_in_one_sentence(visit):
    page = visit()
    fill(page, "Steps", 0)
    assert said(page, "move-status").endswith("steps must be a whole number from 1 to 250, not 0.")
    fill(page, "Steps", 5)
    page.wait_for_selector("#move-status .af-error", state="detached")
    fill(page, "Frames", 1)
    page.locator("#make-film").click()
    assert "frames must be a whole number from 2 to 48, not 1." in said(page, "film-status")


def test_the_stream_of_answers_stays_open_so_that_no_answer_is_lost_in_its_closing(visit):
    page = visit()
    streams = []
    page.on("request", lambda r: streams.append(r.url) if "/queue/data" in r.url else None)
    for steps in (0, 5, 0, 5):
        fill(page, "Steps", steps)
        page.wait_for_selector("#move-status .af-error", state="detached" if steps else "visible")
    assert not streams  # all came by the one that was opened with the page


def test_a_broken_run_and_a_folder_that_went_are_told_in_one_sentence(visit, networks):
    page = visit()
    tab(page, "Inside")
    choose(page, "inside-network", "runs/z-broken")
    page.locator("#denoise").click()
    assert "The weights in runs/z-broken/model are damaged" in said(page, "steps-status")
    choose(page, "inside-network", "runs/z-goes")
    shutil.rmtree(networks / "runs" / "z-goes")
    page.locator("#denoise").click()
    page.wait_for_selector("#steps-status >> text=/runs.z-goes/")
    assert "runs/z-goes is not there any more" in said(page, "steps-status")


def test_a_text_file_is_no_picture_and_a_photograph_is_one(visit, tmp_path):
    page = visit()
    tab(page, "Filters")
    page.locator("#compare").click()
    page.wait_for_selector("#filters-view .af-chart img")
    (tmp_path / "notes.txt").write_text("no picture")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 130, 3), np.uint8)).save(tmp_path / "photo.jpg")
    page.set_input_files("#photo input[type=file]", tmp_path / "notes.txt")
    assert said(page, "filters-status").endswith("notes.txt is no picture that can be read; choose a PNG or a JPEG.")
    page.locator("#photo button[aria-label*='lear'], #photo button[aria-label*='emove']").first.click()
    page.set_input_files("#photo input[type=file]", tmp_path / "photo.jpg")
    page.wait_for_selector("#filters-status .af-error", state="detached")
    page.wait_for_function(
        "[...document.querySelectorAll('#filters-view .af-tile img')].some(i => i.naturalWidth == 88)"
    )


def test_a_sample_is_shown_step_by_step_and_the_guilty_layers_with_their_spectra(visit):
    page = visit()
    tab(page, "Inside")
    choose(page, "inside-network", "runs/a")
    fill(page, "Steps", 5)
    page.locator("#denoise").click()
    page.wait_for_selector("#steps-view figure")
    assert page.locator("#steps-view figure").count() == 6
    page.locator("#find-layers").click()
    page.wait_for_selector("#layers-view table")
    assert page.locator("#layers-view tbody tr").count() > 10
    page.wait_for_selector("#layer-view .af-chart img")
    first = page.inner_text("#layer-view h3")
    page.locator("#layer input").click()
    page.get_by_role("option").nth(1).click()
    page.wait_for_function(f"document.querySelector('#layer-view h3').innerText != {json.dumps(first)}")


def test_a_training_is_started_watched_stopped_and_resumed(visit, networks):
    page = visit()
    tab(page, "Training")
    for name, words in (("../out", "A name has up to 64 letters"), ("a", "There is a run in runs/a already")):
        page.locator("#new-name input, #new-name textarea").fill(name)
        page.locator("#start-training").click()
        page.wait_for_selector(f"#training-said .af-error >> text=/{words}/")
    page.locator("#new-name input, #new-name textarea").fill("fresh")
    page.locator("#new-steps input").fill("3000")
    choose(page, "new-width", "4")
    choose(page, "new-size", "8")
    page.locator("#start-training").click()
    page.wait_for_selector("#training-view >> text=/being trained/")
    page.wait_for_selector("#training-view .af-chart img")
    page.locator("#stop").click()
    page.wait_for_selector("#training-view >> text=/not being trained/")
    run = networks / "runs" / "fresh"
    done = len((run / "losses.csv").read_text().splitlines()) - 1
    assert (run / "checkpoints" / f"step-{done:08d}").is_dir()
    page.locator("#training-total input").fill("1")
    page.locator("#resume").click()
    assert "steps already" in said(page, "training-said")
    page.locator("#training-total input").fill(str(done + 3))
    page.locator("#resume").click()
    page.wait_for_selector(f"#training-view >> text=/step {done + 3} of {done + 3}, not being trained/")


def test_a_model_is_converted_measured_and_saved(visit, networks):
    page = visit()
    tab(page, "Convert")
    page.locator("#save-converted").click()
    assert "Convert a model first;" in said(page, "saved-status")
    page.locator("#convert").click()
    page.wait_for_selector("#convert-view table")
    rows = page.locator("#convert-view tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["before", "after, D-hq"]
    before, after = (float(re.findall(r"(-?[\d.]+)\s*dB", row.replace("−", "-"))[1]) for row in rows)
    assert after > before + 3
    assert "Touched (" in page.inner_text("#convert-view pre")
    page.locator("#save-converted").click()
    page.wait_for_selector("#saved-view .af-note")
    saved = networks / "runs" / "converted" / "model-D-hq"
    assert aliasfree.AliasFreeStockUNet2DModel.from_pretrained(saved).config["alias_free"] == "D-hq"


def test_a_dropped_folder_is_converted_and_one_of_pickles_is_not(visit, networks, tmp_path):
    page = visit()
    tab(page, "Convert")
    page.set_input_files("#dropped input[type=file]", networks / "model")
    page.wait_for_selector("#dropped >> text=/config/")
    page.locator("#convert").click()
    page.wait_for_selector("#convert-view >> text=/of the dropped model/")
    pickles = tmp_path / "pickles"
    pickles.mkdir()
    shutil.copy(networks / "model" / "config.json", pickles)
    (pickles / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    page.reload()
    tab(page, "Convert")
    page.set_input_files("#dropped input[type=file]", pickles)
    page.wait_for_selector("#dropped >> text=/config/")
    page.locator("#convert").click()
    assert "no weights as .safetensors" in said(page, "convert-status")


CONTRAST = """elements => {
    const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number)
    const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
    const light = rgb => rgb.slice(0, 3).map(v => linear(v / 255))
        .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0)
    const behind = e => {
        for (; e; e = e.parentElement) {
            const c = numbers(getComputedStyle(e).backgroundColor)
            if (c.length == 3 || c[3] > 0.9) return c
        }
        return [255, 255, 255]
    }
    return elements.filter(e => e.offsetParent && e.innerText.trim()).map(e => {
        const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x)
        return [e.innerText.slice(0, 30), (a + 0.05) / (b + 0.05)]
    })
}"""


STILL = """async () => {
    const ends = document.getAnimations().filter(a => a.effect.getTiming().iterations != Infinity).map(a => a.finished)
    await Promise.allSettled(ends)
}"""
"""Wait for the end of all that fades in or slides."""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_on_a_phone_and_a_desk_in_light_and_dark(visit, width, scheme):
    page = visit(width, 844, scheme)
    dark = page.evaluate("document.body.classList.contains('dark') || !!document.querySelector('.dark')")
    assert dark == (scheme == "dark")
    for name in TABS:
        if page.get_by_role("tab", name=name).is_visible():
            tab(page, name)
        else:  # a narrow page keeps the last ones in a menu
            page.get_by_role("button", name=re.compile("more", re.I)).first.click()
            page.get_by_text(name, exact=True).last.click()
        page.evaluate(STILL)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        texts = page.eval_on_selector_all(
            ".af-note, .af-row h3, .af-row h3 small, figcaption, h1, header p, button[role=tab], "
            "[data-testid=block-info], button.primary, button.secondary", CONTRAST
        )  # fmt: skip
        assert len(texts) > 5
        assert not [text for text in texts if text[1] < 4.5]
