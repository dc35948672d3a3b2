"""A shape as a file: the same bytes for the same mesh, and damage is found."""

import numpy as np
import pytest

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.tools.debshapes import shape as module
from pointrecon.tools.debshapes.shape import Shape, make_shape, read_shape, to_bytes
from pointrecon.tools.debshapes.sources.sources import Item, Source
from pointrecon.utils.errors import InputError

ITEM = Item("toys", "toys-data", "1", "models/chair.obj", "chair")


def use_mesh(monkeypatch, mesh):
    source = Source("toys", ("toys-data",), list_items=lambda root: iter([ITEM]), read=lambda root, item: mesh)
    monkeypatch.setitem(module.SOURCES, "toys", source)


def test_makes_points_and_pictures_of_a_mesh(tmp_path, monkeypatch, chair):
    use_mesh(monkeypatch, chair())
    data = make_shape((str(tmp_path), ITEM))
    assert data == make_shape((str(tmp_path), ITEM))
    (tmp_path / "a.npz").write_bytes(data)
    shape = read_shape(tmp_path / "a.npz")
    assert shape.points.shape == (8192, 3) and shape.points.dtype == np.float16
    assert len(shape.views) == 4 and all(view[:4] == b"RIFF" for view in shape.views)
    assert shape.numbers[:2] == (72, 1)
    assert 1 < shape.area < 12


def test_a_mesh_that_makes_no_shape_is_refused(tmp_path, monkeypatch, box):
    use_mesh(monkeypatch, box((0, 0, 0), (1, 0, 1)))
    with pytest.raises(MeshError) as caught:
        make_shape((str(tmp_path), ITEM))
    assert caught.value.cause in ("few faces", "flat") and "chair.obj" in str(caught.value)


def test_what_goes_in_comes_out_and_damage_is_found(tmp_path):
    path = tmp_path / "a.npz"
    shape = Shape(np.arange(12, dtype=np.float16).reshape(4, 3), [b"one", b"", b"three"], 1.5, (7.0, 2.0))
    path.write_bytes(to_bytes(shape))
    back = read_shape(path)
    assert (back.views, back.area, back.numbers) == ([b"one", b"", b"three"], 1.5, (7.0, 2.0))
    np.testing.assert_array_equal(back.points, shape.points)
    for data in (to_bytes(shape)[:-40], b"", b"no archive at all"):
        path.write_bytes(data)
        with pytest.raises(InputError, match="is damaged; remove it"):
            read_shape(path)
