"""What all pictures share."""

import matplotlib
import numpy as np
import pytest

from pointrecon.tools.visualize import style


def test_a_picture_is_written_whole_and_leaves_no_global_state(tmp_path, check_picture):
    before = dict(matplotlib.rcParams)
    path = tmp_path / "new" / "x.png"
    with style.picture(path, 6.0, 4.0) as figure:
        style.add_title(figure, "costs $5 and $6", "not a formula")
        style.place(figure, 1, 1, 4, 2).plot([1, 2, 4])
    assert check_picture(path) == (900, 600)
    assert [item.name for item in path.parent.iterdir()] == ["x.png"]
    assert dict(matplotlib.rcParams) == before


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
