"""What all pictures share."""

import matplotlib
import numpy as np
import pytest

from pointrecon.tools.visualize import style
from pointrecon.utils.errors import InputError


def test_a_picture_is_written_whole_and_leaves_no_global_state(tmp_path, check_picture):
    before = dict(matplotlib.rcParams)
    path = tmp_path / "new" / "x.png"
    with style.picture(path, 6.0, 4.0) as figure:
        style.add_title(figure, "costs $5 and $6", "not a formula")
        style.place(figure, 1, 1, 4, 2).plot([1, 2, 4])
    assert check_picture(path) == (900, 600)
    assert [item.name for item in path.parent.iterdir()] == ["x.png"]
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("kind, start", [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_formats_and_pictures_without_titles(tmp_path, kind, start):
    sizes = []
    for has_title in (True, False):
        paths = [tmp_path / f"{has_title}{number}.{kind}" for number in range(2)]
        for path in paths:
            with style.picture(path, 6.0, 4.0, has_title=has_title) as figure:
                style.add_title(figure, "A title of its own", "and more")
                style.place(figure, 1, 0.5, 4, 2).plot([1, 2, 4])
        assert paths[0].read_bytes().startswith(start) and paths[0].read_bytes() == paths[1].read_bytes()
        sizes.append(len(paths[0].read_bytes()))
        if kind == "svg":
            assert ("A title of its own" in paths[0].read_text()) == has_title
    assert sizes[1] < sizes[0]
    with pytest.raises(InputError, match="picture format is 'gif'"), style.picture(tmp_path / "x.gif", 4.0, 3.0):
        pass


@pytest.mark.parametrize(
    "text, length, short",
    [
        ("chair", 10, "chair"),
        ("a chair with arms", 12, "a chair …"),
        ("antidisestablishmentarianism", 10, "antidises…"),
        ("one two", 7, "one two"),
    ],
)
def test_texts_are_cut_between_words(text, length, short):
    assert style.shorten(text, length) == short and len(short) <= length


def test_a_failed_drawing_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), style.picture(tmp_path / "x.png", 4.0, 3.0):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_axes_are_placed_in_inches(tmp_path):
    with style.picture(tmp_path / "x.png", 8.0, 4.0) as figure:
        bounds = style.place(figure, 2, 1, 4, 2).get_position().bounds
    assert np.allclose(bounds, (0.25, 0.25, 0.5, 0.5))


def test_small_helpers():
    assert style.format_percent(0.7925) == "79.2 %" and style.format_percent(1) == "100.0 %"
    assert style.text_color(np.array([[1.0, 1.0, 1.0], [0.1, 0.2, 0.4]])).tolist() == [True, False]
