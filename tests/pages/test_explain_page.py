"""The page of explanations: what is on it for detectors that know less and more, and how it opens in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import call
from in_browser import in_a_browser, opened, quiet
from PIL import Image
from planted_clip import FP32, coloured, make_detector, write_planted_clip

from aigiscan import api
from aigiscan.encoders import EncoderOptions, create_encoder
from aigiscan.explain.explanation import Explanation
from aigiscan.explain.images import Explainer
from aigiscan.explain.neighbours import Neighbour
from aigiscan.explain.windows import cut_windows, score_windows, window_boxes
from aigiscan.explain.write import ExplanationFolder, write_explanations

EVIL = "<img src=x onerror=document.title='hacked'>.png"


def halves() -> Image.Image:
    """Red on the left, green on the right."""
    pixels = np.full((160, 200, 3), (60, 200, 60), dtype=np.uint8)
    pixels[:, :100] = 220, 60, 60
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def by_colour() -> Any:
    """A detector without parts by place: red is AI-generated, green real."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    pictures = [coloured(rng, "red" if label else "green") for label in labels]
    return make_detector(create_encoder("color:rgb", EncoderOptions(**FP32)), (pictures, labels))


def test_windows_are_scored_as_pictures_and_lie_where_they_say(by_colour: Any) -> None:
    encoder = by_colour.make_encoder(device="cpu", precision="fp32")
    found = score_windows(by_colour, encoder, cut_windows(encoder, halves(), 3))
    alone = encoder.encode([encoder.prepare(halves().crop((100, 80, 200, 160)))])
    assert found.scores[2, 2] == pytest.approx(by_colour.scores(alone)[0])
    assert found.scores[:, 0].min() > found.scores[:, 2].max()
    cells = found.cells()
    assert cells.shape == (4, 4)
    assert cells[0, 0] == pytest.approx(found.scores[0, 0])  # a corner lies in one window alone
    assert cells[1, 1] == pytest.approx(found.scores[:2, :2].mean())
    assert window_boxes(2).tolist() == [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]


def test_what_has_no_windows_says_so(by_colour: Any) -> None:
    encoder = by_colour.make_encoder(device="cpu", precision="fp32")
    small = Explainer(by_colour, encoder).explain(halves().resize((127, 300)))
    assert small.windows is None and "shorter side of 127 pixels" in small.missing["windows"]
    assert small.picture is not None and small.picture.shape == (300, 127, 3)
    off = Explainer(by_colour, encoder, windows=0).explain(halves())
    assert off.windows is None and "--windows 0" in off.missing["windows"]


def test_the_verdict_is_that_of_a_scan(by_colour: Any, tmp_path: Path) -> None:
    detector = replace(by_colour, card=replace(by_colour.card, least_side=170))
    halves().save(tmp_path / "halves.png")
    (scanned,) = detector.scan(tmp_path)
    (why,) = api.explain(detector, tmp_path, device="cpu")
    assert (why.verdict, why.missing["verdict"]) == (scanned.verdict, scanned.error)
    assert "under 170" in scanned.error
    write_explanations(tmp_path / "why", [why], detector)
    assert "Uncertain whatever its score" in (tmp_path / "why" / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def explained(by_colour: Any, tmp_path: Path) -> Path:
    """A folder of explanations of a picture, one with a hostile name and one that cannot be read."""
    by_colour.save(tmp_path / "det")
    (tmp_path / "1_fake").mkdir()  # this name is its label in the store
    halves().save(tmp_path / "1_fake" / "halves.png")
    coloured(np.random.default_rng(1), "red", 200).save(tmp_path / "1_fake" / EVIL)
    (tmp_path / "1_fake" / "broken.png").write_bytes(b"")
    call("embed", tmp_path, "-o", tmp_path / "known.h5", "-e", "color:rgb")
    call(
        "explain", tmp_path / "det", tmp_path / "1_fake", "-o", tmp_path / "why", "--neighbours", tmp_path / "known.h5",
        "--device", "cpu",
    )  # fmt: skip
    return tmp_path / "why"


def test_the_page_says_what_there_is_and_draws_nothing_empty(explained: Path) -> None:
    page = (explained / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "&lt;img src=x" in page
    assert page.index(">halves.png<") > page.index("&lt;img src=x")  # most suspicious first
    assert page.count('class="heat"') == page.count('alt="the picture"') == 2
    assert 'class="heads"' not in page and "attention head" not in page.split("<details>")[0]
    assert "color:rgb</td>" in page and "intercept</td>" in page
    assert page.count("Nearest known AI-generated pictures") == 2 and "Nearest known photographs" not in page
    numbers = json.loads((explained / "halves.json").read_text())
    assert np.shape(numbers["windows"]["scores"]) == (3, 3)
    assert Image.open(explained / "halves.png").size == (400, 160)  # the picture, and its map beside it


def test_a_transformer_has_patches_heads_and_words_on_its_page(tmp_path: Path) -> None:
    encoder = create_encoder(write_planted_clip(tmp_path / "model"), EncoderOptions(**FP32))
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    pictures = [coloured(rng, "red" if label else "green") for label in labels]
    make_detector(encoder, (pictures, labels)).save(tmp_path / "det")
    pictures[1].save(tmp_path / "red.png")
    (tmp_path / "words.txt").write_text("red\ngreen\n")
    call("explain", tmp_path / "det", tmp_path / "red.png", "-o", tmp_path / "why", "--phrases", tmp_path / "words.txt")
    page = (tmp_path / "why" / "index.html").read_text(encoding="utf-8")
    for shown in ("map of the patches", 'class="heads"', "Heads in words", "class_token</td>"):
        assert shown in page
    assert "Windows:" not in page


@in_a_browser
def test_the_page_opens_and_stays_in_its_window(browser: Any, explained: Path) -> None:
    opened(browser, explained / "index.html")
    assert browser.title.startswith("Why ")
    assert [link.text for link in browser.find_elements("css selector", ".contents a")] == [
        EVIL,
        "halves.png",
        "broken.png",
    ]
    loaded = "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
    assert browser.execute_script(loaded)
    assert (
        browser.find_elements("css selector", ".heat")[0].size == browser.find_elements("css selector", ".grey")[0].size
    )
    browser.set_window_size(500, 800)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    browser.set_window_size(1200, 900)
    quiet(browser)


@in_a_browser
def test_twelve_hundred_explanations_are_a_list_in_which_each_opens(
    browser: Any, by_colour: Any, tmp_path: Path
) -> None:
    halves().save(tmp_path / "known.png")
    encoder = by_colour.make_encoder(device="cpu", precision="fp32")
    one = Explainer(by_colour, encoder, windows=2).explain(halves())
    near = {"real": [], "fake": [Neighbour(0, str(tmp_path / "known.png"), "a <b>gan</b>", 0.9)]}
    gone_through = 0

    def many() -> Iterator[Explanation]:
        nonlocal gone_through
        for number in range(1200):
            gone_through += 1
            yield replace(one, path=f"f{number % 7}/{number:04d}.png", logit=number / 100, neighbours=near)
        yield Explanation(f"f0/{EVIL}", error="no such <b>file</b>")

    folder = ExplanationFolder(tmp_path / "why", by_colour, 1201)
    written = folder.written(many())
    next(written)
    assert gone_through < 10  # they are written as they come, and none is kept
    assert sum(1 for _ in written) == 1200 and len(folder.paths) == 1201
    page = tmp_path / "why" / "index.html"
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 1201  # each once, and the known one once
    opened(browser, page)
    names = "return [...document.querySelectorAll('#list tr[data-place] td:nth-child(2)')].map(e => e.textContent)"
    shown = browser.execute_script(names)
    assert len(shown) < 60
    browser.find_element("css selector", "#list thead th:nth-child(4) button").click()  # the score, highest first
    assert browser.execute_script(names)[0] == "f2/1199.png"
    browser.execute_script("document.getElementById('list').scrollTop = 64 * 600")
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert "f4/0599.png" in browser.execute_script(names)
    browser.execute_script("document.getElementById('list').scrollTop = 0")
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    browser.find_element("css selector", "#list tbody td:nth-child(2)").click()
    about = browser.find_element("id", "large-about")
    assert browser.find_element("id", "large-name").text == "f2/1199.png"
    assert "part of the score" in about.text and "a <b>gan</b>" in about.text and "score +11.990" in about.text
    assert (
        browser.execute_script(
            "return [...document.querySelectorAll('#large-about img')].map(image => image.naturalWidth > 0)"
        )
        == [True] * 4
    )
    grey, heat = (about.find_element("css selector", f"img.{kind}") for kind in ("grey", "heat"))
    assert grey.size == heat.size and heat.value_of_css_property("object-fit") == "fill"  # the map lies on the picture
    assert about.find_element("css selector", ".known img").size["width"] <= 112
    browser.set_window_size(500, 800)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    browser.set_window_size(1200, 900)
    browser.find_element("id", "next").click()
    assert browser.find_element("id", "large-name").text == "f1/1198.png"
    browser.find_element("id", "large").send_keys("\ue00c")  # Esc
    browser.find_element("id", "text").send_keys("onerror")
    assert browser.execute_script(names) == [f"f0/{EVIL}"]
    assert "no such <b>file</b>" in browser.find_element("id", "list").text
    quiet(browser)
