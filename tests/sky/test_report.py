"""The page holds every galaxy once, in the order in which to look, and nothing from outside it."""

import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scenarios import galaxies

from radio_bnn.sky.report import png, urgency, write_report
from radio_bnn.sky.sources import sources


def row(name, label, entropy, flags="", **more):
    numbers = {"p_fri": 0.7, "p_frii": 0.3, "predictive_entropy": entropy, "mutual_information": 0.1}
    numbers |= {"expected_entropy": 0.2, "unlikeness": 90.0, "unlikeness_rank": 0.5, "histogram": [0, 5] + [1] * 18}
    place = {"name": name, "ra": 10.0, "dec": -1.0, "label": label, "flags": flags, "message": ""}
    return place | numbers | more


ROWS = [
    row("sure", "FRI", 0.1),
    row("less sure", "FRII", 0.3),
    row("asked", "ask", 0.2),
    row("strange", "FRI", 0.05, "edge unlike_training"),
    {"name": "<b>broken</b>", "ra": float("nan"), "dec": float("nan"), "flags": "", "message": "no & signal"},
    row("empty", "none", 0.6),
]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.names, self._in_name = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in_name = (tag, dict(attributes).get("scope")) == ("th", "row")

    def handle_data(self, data):
        if self._in_name:
            self.names.append(data)
            self._in_name = False

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def page(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(6)]
    for k, path in enumerate(paths):
        Image.fromarray(galaxies(0).images[k]).save(path)
    paths[4].write_bytes(b"broken")
    found = sources(paths)
    write_report(tmp_path / "report.html", ROWS, found, {"credit": "Becker & others"})
    return (tmp_path / "report.html").read_text()


def test_what_to_look_at_first_comes_first(page):
    assert Page(page).names == ["<b>broken</b>", "strange", "empty", "asked", "less sure", "sure"]
    assert sorted(ROWS, key=urgency)[0]["name"] == "<b>broken</b>"


def test_the_page_needs_nothing_else_and_can_be_read_aloud(page):
    found = Page(page)
    assert [a["src"][:22] for a in found.all("img")] == ["data:image/png;base64,"] * 5
    assert all(a["alt"] for a in found.all("img")) and all(a["aria-label"] for a in found.all("svg"))
    assert not found.all("script") and not found.all("link") and "http" not in page.replace("http-equiv", "")
    assert found.all("html") == [{"lang": "en"}] and len(found.all("h1")) == 1
    assert [a["scope"] for a in found.all("th")].count("col") == 6
    assert {"class": "table", "role": "region", "aria-labelledby": "caption", "tabindex": "0"} in found.all("div")
    assert "prefers-color-scheme: dark" in page and "<b>broken" not in page and "no &amp; signal" in page


def test_the_histogram_says_in_words_what_it_draws(page):
    assert Page(page).all("svg")[0]["aria-label"] == "13 of 23 draws below one half, 10 above"


def test_an_image_is_a_png_of_its_pixels():
    image = galaxies(1).images[0][:, :120]
    with Image.open(io.BytesIO(png(image))) as opened:
        assert opened.mode == "L"
        np.testing.assert_array_equal(np.array(opened), image)
