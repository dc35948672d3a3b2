"""Draws a point cloud as small shaded balls with a soft shadow: orthographic, y up, no GPU, no 3D library.

Shape legend: n points, S side of the image in pixels.
"""

import numpy as np
from scipy.ndimage import uniform_filter

AZIMUTH, ELEVATION = 35.0, 22.0  # degrees: a three-quarter view of what faces +z
_LIGHT = np.array([-0.45, 0.70, 0.56]) / np.linalg.norm([-0.45, 0.70, 0.56])  # from the upper left, on the screen
_SHADOW = 0.20  # opacity of the shadow at its darkest
_FOG = 0.48  # how much of the paper shows through a ball that lies the frame's width behind the nearest


def project(points: np.ndarray, azimuth: float = AZIMUTH, elevation: float = ELEVATION) -> np.ndarray:
    """Turns points to the screen, without perspective.

    Args:
        points: (n, 3), y up.
        azimuth: degrees that the viewer stands to the right of +z.
        elevation: degrees above the ground.

    Returns:
        (n, 3): right, up, towards the viewer; lengths stay as they are.
    """
    a, e = np.radians([azimuth, elevation])
    right = (np.cos(a), 0.0, -np.sin(a))
    up = (-np.sin(a) * np.sin(e), np.cos(e), -np.cos(a) * np.sin(e))
    towards = (np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e))
    return points @ np.array([right, up, towards], dtype=float).T


def render(
    points: np.ndarray, colors: np.ndarray, frame: tuple[float, float, float], floor: float, side: int, radius: float
) -> np.ndarray:
    """Draws balls.

    Args:
        points: (n, 3), y up.
        colors: (n, 3) RGB in 0..1.
        frame: centre (right, up) and width of the square that is seen, on the screen.
        floor: height of the ground that the shadow falls on.
        side: S.
        radius: of a ball, in the points' unit.

    Returns:
        (S, S, 4) RGBA in 0..1, row 0 at the top; transparent where there is nothing.
    """
    scale = side / frame[2]
    screen = project(points)
    depth, owner, normal = _draw_balls(_to_pixels(screen, frame, side), side, max(radius * scale, 1.0))
    is_ball = owner >= 0
    diffuse = np.clip(normal @ _LIGHT, 0, 1)
    light = 0.56 + 0.54 * diffuse - _occlusion(depth / scale, is_ball)
    color = colors[owner] * light[..., None] + 0.18 * diffuse[..., None] ** 14  # with a small highlight
    behind = (screen[:, 2].max() - screen[:, 2])[owner][..., None] / frame[2]
    fog = _FOG * np.clip(behind, 0, 1)
    image = np.zeros((side, side, 4))
    image[..., 3] = _draw_shadow(points, frame, floor, side)
    image[is_ball, :3] = np.clip(color + fog * (1 - color), 0, 1)[is_ball]
    image[is_ball, 3] = 1
    return image


def _to_pixels(screen: np.ndarray, frame: tuple[float, float, float], side: int) -> np.ndarray:
    """Screen (n, 3) -> column, row, depth in pixels, as floats; row 0 is at the top."""
    scale = side / frame[2]
    columns = (screen[:, 0] - frame[0]) * scale + side / 2
    rows = side / 2 - (screen[:, 1] - frame[1]) * scale
    return np.stack([columns, rows, screen[:, 2] * scale], axis=1)


def _draw_balls(pixels: np.ndarray, side: int, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (S, S), index of the ball in front (S, S; -1: none) and its normal (S, S, 3) at each pixel."""
    reach = int(np.ceil(radius))
    steps = np.arange(-reach, reach + 1)
    # Corner of each ball's square of pixels; what lies outside the image is dropped below.
    columns = np.floor(pixels[:, 0]).astype(int)[:, None, None] + steps[None, None, :]
    rows = np.floor(pixels[:, 1]).astype(int)[:, None, None] + steps[None, :, None]
    dx = (columns + 0.5 - pixels[:, 0, None, None]) / radius
    dy = (pixels[:, 1, None, None] - rows - 0.5) / radius
    dx, dy, columns, rows = np.broadcast_arrays(dx, dy, columns, rows)
    height = 1 - dx**2 - dy**2
    kept = (height > 0) & (columns >= 0) & (columns < side) & (rows >= 0) & (rows < side)
    ball = np.broadcast_to(np.arange(len(pixels))[:, None, None], kept.shape)[kept]
    normal = np.stack([dx[kept], dy[kept], np.sqrt(height[kept])], axis=1)
    z = pixels[ball, 2] + radius * normal[:, 2]
    order = np.argsort(z, kind="stable")  # the nearest is written last
    place = (rows[kept][order], columns[kept][order])
    depth, owner, normals = np.full((side, side), -np.inf), np.full((side, side), -1), np.zeros((side, side, 3))
    depth[place], owner[place], normals[place] = z[order], ball[order], normal[order]
    return depth, owner, normals


def _occlusion(depth: np.ndarray, is_ball: np.ndarray) -> np.ndarray:
    """How much to darken what lies behind its surroundings (Luft et al. 2006), so that parts stand out."""
    side = len(depth)
    depth = np.where(is_ball, depth, 0.0)
    cover = _blur(is_ball.astype(float), 0.06 * side)
    behind = _blur(depth, 0.06 * side) / np.maximum(cover, 1e-3) - depth
    return np.where(is_ball, np.clip(0.6 * behind, -0.08, 0.22), 0.0)


def _draw_shadow(points: np.ndarray, frame: tuple[float, float, float], floor: float, side: int) -> np.ndarray:
    """Opacity (S, S) of the points' shadow on the ground, lit from straight above."""
    ground = points.copy()
    ground[:, 1] = floor
    columns, rows, _ = _to_pixels(project(ground), frame, side).T
    count, _, _ = np.histogram2d(rows, columns, bins=side, range=((0, side), (0, side)))
    cover = 1 - np.exp(-_blur(count, 0.022 * side) * 0.004 * side**2)
    # It fades out towards the edge of the picture, where it would be cut off.
    window = np.clip(np.minimum(np.arange(side), np.arange(side)[::-1]) / (0.06 * side), 0, 1)
    return _SHADOW * np.clip(_blur(cover, 0.025 * side), 0, 1) * np.minimum(window[:, None], window)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """About a Gaussian blur: three running means, whose time does not grow with sigma."""
    size = max(int(round(2 * sigma)), 1)
    for _ in range(3):
        image = uniform_filter(image, size, mode="constant")
    return image
