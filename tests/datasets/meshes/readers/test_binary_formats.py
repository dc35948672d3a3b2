"""Binary formats: a miniature of each, cut off everywhere and with huge counts."""

import struct

import numpy as np
import pytest

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.datasets.meshes.readers import READERS

TRIANGLE = np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0]], "<f4")
INDICES = [0, 1, 2]


def g3d():
    head = struct.pack("<3sBHB64s3I3f5fII", b"G3D", 4, 1, 0, b"mesh", 2, 3, 3, 1, 0, 0, *[0.0] * 5, 0, 0)
    frames = np.concatenate([TRIANGLE, TRIANGLE + 50]).tobytes()
    return head + frames + frames + struct.pack("<3I", *INDICES)


def spm(has_color):
    head = struct.pack("<2sBB6fH", b"SP", 0x0A, 1 | (2 if has_color else 0), *[0.0] * 6, 1)
    names = b"\x00\x00"
    vertices = b""
    for row in TRIANGLE:
        vertices += row.tobytes() + bytes(4)
        vertices += (b"\x00" + bytes([255, 0, 0])) if has_color else b""
    return head + names + struct.pack("<HHIIH", 1, 1, 3, 3, 0) + vertices + bytes(INDICES)


def md2():
    frame = struct.pack("<6f16s", 2, 1, 1, 0, 0, 0, b"frame") + bytes([0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0])
    faces = struct.pack("<6H", *INDICES, 0, 0, 0)
    start = 68
    return (
        struct.pack(
            "<4s16i", b"IDP2", 8, 1, 1, len(frame), 0, 3, 0, 1, 0, 1, start, start, start, start + len(faces), 0, 0
        )
        + faces
        + frame
    )


def md3():
    faces = struct.pack("<3i", *INDICES)
    vertices = (np.c_[TRIANGLE * 64, np.zeros(3)]).astype("<i2").tobytes()
    end = 108 + len(faces) + 24 + len(vertices)
    surface = struct.pack("<4s64si4i5i", b"IDP3", b"s", 0, 1, 0, 3, 1, 108, 108, 120, 144, end)
    head = struct.pack("<4si64si8i", b"IDP3", 15, b"m", 0, 1, 0, 1, 0, 108, 108, 108, 108 + end)
    return head + surface + faces + bytes(24) + vertices


def iqm():
    arrays, positions = 140, 160
    faces = positions + 36
    meshes = faces + 12
    head = struct.pack("<16s27I", b"INTERQUAKEMODEL\0", 2, 300, 0, 0, 124, 1, meshes, 1, 3, arrays, 1, faces, *[0] * 15)
    body = head.ljust(arrays, b"\0") + struct.pack("<5I", 0, 0, 7, 3, positions) + TRIANGLE.tobytes()
    return body + struct.pack("<3I", *INDICES) + struct.pack("<6I", 0, 0, 0, 3, 0, 1)


def pmd(version):
    uv = [0.0] * (4 if version == 4 else 2)
    body = struct.pack("<2I", 3, 2) if version == 4 else struct.pack("<I", 3)
    for row in TRIANGLE:
        body += row.tobytes() + struct.pack(f"<3f{len(uv)}f4B4f", 0, 0, 1, *uv, 0, 255, 255, 255, 1, 0, 0, 0)
    body += struct.pack("<I3H", 1, *INDICES) + struct.pack("<I7f", 1, *[0.0] * 7)
    body += struct.pack("<2I4s7fB", 1, 4, b"root", *[0.0] * 7, 255)
    return struct.pack("<4s2I", b"PSMD", version, len(body)) + body


def chunk(kind, *parts):
    body = b"".join(parts)
    return struct.pack("<HI", kind, len(body) + 6) + body


def threeds():
    vertices = chunk(0x4110, struct.pack("<H", 3), TRIANGLE.tobytes())
    use = chunk(0x4130, b"red\0", struct.pack("<HH", 1, 0))
    faces = chunk(0x4120, struct.pack("<5H", 1, *INDICES, 0), use)
    material = chunk(0xAFFF, chunk(0xA000, b"red\0"), chunk(0xA020, chunk(0x0011, bytes([255, 0, 0]))))
    return chunk(0x4D4D, chunk(0x3D3D, material, chunk(0x4000, b"thing\0", chunk(0x4100, vertices, faces))))


def mod(*farthest):
    data = struct.pack("<3i40x", 1, 2, len(farthest))
    for place, distance in enumerate(farthest):
        vertices = b"".join(row.tobytes() + bytes(28) for row in TRIANGLE + 50 * np.float32(place > 0))
        ends = struct.pack("<2f12x", farthest[place - 1] if place else 0, distance)
        data += struct.pack("<I", 1) + vertices + struct.pack("<17f20x", 1, *[0.0] * 16) + ends
    return data


def stl():
    return struct.pack("<80sI12x", b"solid by name", 1) + TRIANGLE.tobytes() + bytes(2)


FILES = {
    "g3d": (".g3d", g3d()),
    "spm": (".spm", spm(False)),
    "spm with colours": (".spm", spm(True)),
    "md2": (".md2", md2()),
    "md3": (".md3", md3()),
    "iqm": (".iqm", iqm()),
    "pmd": (".pmd", pmd(4)),
    "pmd of version 3": (".pmd", pmd(3)),
    "3ds": (".3ds", threeds()),
    "mod": (".mod", mod(100.0, 200.0)),
    "stl": (".stl", stl()),
}


@pytest.mark.parametrize("case", FILES)
def test_triangle_is_read(case):
    suffix, data = FILES[case]
    mesh = READERS[suffix](data, f"a{suffix}", None)
    assert mesh.faces.shape == (1, 3) and sorted(mesh.faces[0].tolist()) == INDICES
    np.testing.assert_allclose(mesh.vertices[:3], TRIANGLE)
    if case in ("3ds", "spm with colours", "g3d", "mod"):
        assert mesh.colors.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("case", FILES)
def test_cut_off_or_overwritten_files_are_clean_errors(case):
    suffix, data = FILES[case]
    for length in range(0, len(data) - 1, 3):
        with pytest.raises(MeshError):
            READERS[suffix](data[:length], f"a{suffix}", None)
    for place in range(0, len(data) - 4):
        value = b"\xff\xff\xff\x7f" if place % 3 else b"\xff\xff\xff\xff"
        try:
            READERS[suffix](data[:place] + value + data[place + 4 :], f"a{suffix}", None)
        except MeshError:
            continue
