"""The page as a file: whole, by itself, and safe whatever things are called."""

import json
import re
import sys

import numpy as np
import pytest

from pointrecon.tools.report.build import write_report
from pointrecon.tools.report.page import Page, encode, plotly_script, table
from pointrecon.utils.errors import InputError

pytest.importorskip("plotly")
NASTY = "</script><b>'\"&é"


def content_of(text):
    """What the scripts of a page are given."""
    return json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)[1])


def test_everything_is_inside(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=\"(?!data:)", text)
    assert "%BLOB%" not in text and page.stat().st_size < 15e6
    content = content_of(text)
    plots = re.findall(r'data-figure="([^"]+)"', text.partition("<script")[0])
    assert plots and set(plots) == set(content["figures"]) and len(plots) == len(set(plots))
    clouds = set(re.findall(r'data-cloud="([^"]+)"', text))
    assert clouds and clouds <= set(content["clouds"])


def test_each_control_and_picture_has_a_name(page):
    text = page.read_text(encoding="utf-8").partition("<script")[0]
    for tag in re.findall(r"<(?:select|input)[^>]*>", text):
        before = text[: text.index(tag)]
        assert before.rpartition("<label")[2].count("</label>") == 0, tag
    assert all("aria-label=" in tag for tag in re.findall(r"<canvas[^>]*>", text))
    assert all('role="img"' in tag and "aria-label=" in tag for tag in re.findall(r'<div class="plot"[^>]*>', text))
    targets = re.findall(r'<a (?:class="skip" )?href="#([^"]+)"', text)
    assert len(targets) > 5 and all(f'id="{target}"' in text for target in targets)
    assert '<html lang="en">' in text and "<main" in text and "<nav aria-label" in text


def test_names_are_only_text(tmp_path):
    page = Page(NASTY)
    page.add_cloud(NASTY, np.zeros((1, 3)))
    page.data["made"] = NASTY
    page.add("one", NASTY, table((NASTY, "b"), [(NASTY, NASTY)], NASTY))
    text = page.render()
    assert content_of(text)["data"]["made"] == NASTY
    assert NASTY not in text.replace(plotly_script(), "") and "<b>'" not in text.partition("<script")[0]


def test_what_is_filled_in_is_not_filled_in_again():
    page = Page("%BLOB% and %CSS%")
    text = page.render()
    assert "<h1>%BLOB% and %CSS%</h1>" in text


def test_clouds_keep_their_places():
    points = np.array([[0.5, -0.25, 1.0], [-1.0, 0.0, 3.0]])
    import base64

    found = np.frombuffer(base64.b64decode(encode(points)), np.int8).reshape(2, 3) / 120
    np.testing.assert_allclose(found, [[0.5, -0.25, 1.0], [-1.0, 0.0, 127 / 120]], atol=1 / 240)


def test_without_plotly_a_sentence_says_what_to_install(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(InputError, match=r"pip install 'pointrecon\[report\]'"):
        write_report([runs], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
