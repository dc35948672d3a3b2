"""Pictures: what is in front hides what is behind, sides are where they should be, colours come through."""

import io

import numpy as np
from PIL import Image

from pointrecon.datasets.meshes.mesh import Mesh, merge
from pointrecon.datasets.meshes.render import SIZE, encode, render_views

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def painted(mesh, color):
    return Mesh(mesh.vertices, mesh.faces, np.tile(np.float32(color), (len(mesh.faces), 1)))


def is_like(picture, color):
    """Pixels in which only the colour's own channels are bright."""
    channels = picture.astype(int)
    bright = channels[..., [i for i in range(3) if color[i]]].min(-1)
    dark = channels[..., [i for i in range(3) if not color[i]]].max(-1)
    return bright > dark + 40


def is_drawn(picture):
    return (picture < 255).any(-1)


def test_the_nearer_box_hides_the_farther_one(box):
    pair = merge([painted(box((0, 0, 0.6), (1, 1, 0.8)), RED), painted(box((0.3, 0.3, 0), (0.7, 0.7, 0.2)), BLUE)])
    front, back = render_views(pair, (0.0, 180.0))
    assert is_like(front, RED).sum() > 1000 and is_like(front, BLUE).sum() < is_like(back, BLUE).sum()
    assert is_like(back, BLUE).sum() > 300


def test_x_is_right_and_y_is_up_from_the_front(box):
    left = painted(box((-1, 0, 0), (-0.9, 1, 0.1)), RED)
    right = painted(box((0.9, 0, 0), (1, 0.2, 0.1)), BLUE)
    front, side = render_views(merge([left, right]), (0.0, 90.0))
    columns = [np.flatnonzero(is_like(front, color).any(0)).mean() for color in (RED, BLUE)]
    assert columns[0] < SIZE / 2 < columns[1]
    rows = [np.flatnonzero(is_like(front, color).any(1)).min() for color in (RED, BLUE)]
    assert rows[0] < rows[1], "the higher one is higher in the picture"
    assert is_like(side, BLUE).any(0).argmax() <= is_like(side, RED).any(0).argmax(), "from +x, the one at +x is near"


def test_fills_the_picture_whatever_the_size_and_leaves_the_ground_white(box):
    for scale in (1e-6, 1.0, 1e6):
        (picture,) = render_views(box((0, 0, 0), (scale, 2 * scale, scale)), (30.0,))
        rows = np.flatnonzero(is_drawn(picture).any(1))
        assert picture.shape == (SIZE, SIZE, 3) and 0.88 * SIZE <= np.ptp(rows) + 1 <= 0.96 * SIZE
        assert (picture[0] == 255).all() and (picture[:, 0] == 255).all()


def test_has_no_holes_and_does_not_mind_which_way_faces_face(box):
    cube = box((0, 0, 0), (1, 1, 1))
    turned = Mesh(cube.vertices, cube.faces[:, ::-1])
    (one,), (other,) = render_views(cube, (30.0,)), render_views(turned, (30.0,))
    np.testing.assert_array_equal(one, other)
    for row in is_drawn(one):
        inside = np.flatnonzero(row)
        assert not len(inside) or row[inside[0] : inside[-1] + 1].all()


def test_thin_parts_stay_visible(box):
    wire = merge([box((0, 0, 0), (1, 0.001, 0.001)), box((0, 0.9, 0), (1, 1, 0.1))])
    (picture,) = render_views(wire, (0.0,))
    assert is_drawn(picture)[SIZE // 2 :].any(0).mean() > 0.7


def test_the_lamp_is_above(box):
    (picture,) = render_views(box((0, 0, 0), (1, 1, 1)), (0.0,))
    rows = np.flatnonzero(is_drawn(picture)[:, SIZE // 2])
    assert picture[rows[3], SIZE // 2, 0] > picture[rows[-3], SIZE // 2, 0] + 20


def test_webp_keeps_the_picture(chair):
    (picture,) = render_views(chair(), (30.0,))
    with Image.open(io.BytesIO(encode(picture))) as image:
        assert image.format == "WEBP"
        apart = np.abs(np.array(image.convert("RGB")).astype(int) - picture).mean()
    assert apart < 4
    assert encode(picture) == encode(picture)
