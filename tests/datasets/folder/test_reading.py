"""Own files in every format that is read: the same box comes out of each."""

import struct
import sys

import numpy as np
import pytest

from pointrecon.datasets.folder.pcd import read_pcd
from pointrecon.datasets.folder.reading import PointSet, read_geometry
from pointrecon.datasets.folder.sampling import sample_file
from pointrecon.datasets.meshes.mesh import Mesh, MeshError

CLOUD = np.random.RandomState(0).rand(500, 3) * [1, 2, 3]
COLORS = np.random.RandomState(1).rand(500, 3)


def read(path, **options):
    return read_geometry(path, max_points=10_000, **options)


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "off", "glb", "gltf"])
def test_meshes(tmp_path, suffix):
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box((1, 2, 3))
    box.export(tmp_path / f"box.{suffix}")
    mesh = read(tmp_path / f"box.{suffix}")
    assert isinstance(mesh, Mesh) and len(mesh.faces) == 12
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [1, 2, 3], rtol=1e-6)


def test_the_transforms_of_a_scene_hold(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((1, 1, 1)), transform=trimesh.transformations.translation_matrix([4, 0, 0]))
    scene.add_geometry(trimesh.creation.box((1, 1, 1)))
    scene.export(tmp_path / "two.glb")
    mesh = read(tmp_path / "two.glb")
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], [[-0.5] * 3, [4.5, 0.5, 0.5]], atol=1e-6)


def write_las(path):
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales = [1e-6] * 3
    data = laspy.LasData(header)
    data.x, data.y, data.z = CLOUD.T
    data.red, data.green, data.blue = (COLORS * 65535).astype(np.uint16).T
    data.write(path)


WRITERS = {
    "npy": lambda path: np.save(path, CLOUD),
    "npz": lambda path: np.savez(path, points=CLOUD),
    "xyz": lambda path: np.savetxt(path, CLOUD),
    "txt": lambda path: np.savetxt(path, CLOUD, delimiter=";"),
    "csv": lambda path: np.savetxt(path, CLOUD, delimiter=",", header="x,y,z", comments=""),
    "pts": lambda path: path.write_text(
        f"{len(CLOUD)}\n" + "\n".join(" ".join(map(repr, row)) for row in CLOUD.tolist())
    ),
    "las": write_las,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_point_clouds(tmp_path, suffix):
    path = tmp_path / f"cloud.{suffix}"
    WRITERS[suffix](path)
    cloud = read(path)
    assert isinstance(cloud, PointSet)
    np.testing.assert_allclose(cloud.points, CLOUD, atol=2e-6)


def test_hdf5_clouds(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["xyz"] = CLOUD
    np.testing.assert_array_equal(read(tmp_path / "a.h5").points, CLOUD)


def test_colours_come_along_and_normals_are_none(tmp_path):
    np.savetxt(tmp_path / "rgb.xyz", np.hstack([CLOUD, np.round(COLORS * 255)]))
    np.testing.assert_allclose(read(tmp_path / "rgb.xyz").colors, np.round(COLORS * 255) / 255, atol=1e-6)
    np.savetxt(tmp_path / "normals.xyz", np.hstack([CLOUD, COLORS * 2 - 1]))
    assert read(tmp_path / "normals.xyz").colors is None
    write_las(tmp_path / "rgb.las")
    np.testing.assert_allclose(read(tmp_path / "rgb.las").colors, COLORS, atol=1e-4)


def test_large_clouds_are_thinned_evenly_and_alike_each_time(tmp_path):
    write_las(tmp_path / "a.las")
    kept = read_geometry(tmp_path / "a.las", max_points=50).points
    assert kept.shape == (50, 3)
    np.testing.assert_array_equal(kept, read_geometry(tmp_path / "a.las", max_points=50).points)
    rows = [int(np.abs(CLOUD - point).sum(1).argmin()) for point in kept]
    assert [row // 10 for row in rows] == list(range(50))


def pcd(mode, body, fields="x y z rgb", sizes="4 4 4 4", kinds="F F F F"):
    head = f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {kinds}\n"
    head += f"WIDTH 3\nHEIGHT 1\nPOINTS 3\nDATA {mode}\n"
    return head.encode() + body


RGB = struct.unpack("<f", struct.pack("<I", 0x00FF8000))[0]
ROWS = np.array([[0, 1, 2, RGB], [3, 4, 5, RGB], [np.nan, 7, 8, RGB]], np.float32)


def compress_literally(data):
    return b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32] for i in range(0, len(data), 32))


@pytest.mark.parametrize("mode", ["ascii", "binary", "binary_compressed"])
def test_pcd(tmp_path, mode):
    if mode == "ascii":
        body = "\n".join(" ".join(repr(float(value)) for value in row) for row in ROWS).encode()
    else:
        body = ROWS.tobytes()
    if mode == "binary_compressed":
        packed = compress_literally(ROWS.T.tobytes())
        body = struct.pack("<II", len(packed), ROWS.nbytes) + packed
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd(mode, body))
    points, colors = read_pcd(path)
    np.testing.assert_array_equal(points, [[0, 1, 2], [3, 4, 5]])
    if mode != "ascii":  # the bits of a packed colour do not survive being printed as a number everywhere
        np.testing.assert_allclose(colors, [[1, 128 / 255, 0]] * 2, atol=1e-6)


@pytest.mark.parametrize("mode", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("count", [0, -1])
def test_pcd_fields_without_values_are_refused(tmp_path, mode, count):
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd(mode, bytes(100)).replace(b"WIDTH", b"COUNT 1 1 1 %d\nWIDTH" % count))
    with pytest.raises(MeshError, match=f"has a field of {count} values|header that cannot be read"):
        read_pcd(path)


def test_pcd_colours_as_whole_numbers_in_text(tmp_path):
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd("ascii", b"0 1 2 16711680\n3 4 5 nan\n6 7 8 -16776961\n", kinds="F F F I"))
    assert read_pcd(path)[1].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_pcd_without_a_number_of_points_has_as_many_as_its_grid(tmp_path):
    head = pcd("binary", ROWS.tobytes()).replace(b"POINTS 3\n", b"")
    for name, data in (("a.pcd", head), ("b.pcd", head.replace(b"WIDTH 3\nHEIGHT 1", b"WIDTH 1\nHEIGHT 3"))):
        (tmp_path / name).write_bytes(data)
        assert read_pcd(tmp_path / name)[0].tolist() == [[0, 1, 2], [3, 4, 5]]


PCD_FAULTS = {
    "no header": (b"0 1 2\n" * 80, "has no PCD header"),
    "no end of a header": (b"# .PCD v0.7\nVERSION 0.7", "has no PCD header"),
    "no fields": (pcd("ascii", b"").replace(b"FIELDS", b"FOLD"), "PCD header that cannot be read"),
    "no z": (pcd("ascii", b"", "x y w rgb"), "3 points with the fields x y w rgb"),
    "unknown data": (pcd("base64", b""), "unknown kind 'base64'"),
    "fewer lines": (pcd("ascii", b"0 1 2 3\n" * 2), "has 2 lines of numbers, but claims 3 points"),
    "fewer columns": (pcd("ascii", b"0 1 2\n" * 3), "has 3 columns, but its header names 4"),
    "words": (pcd("ascii", b"0 1 2 x\n" * 3), "not made of numbers"),
    "no sizes": (pcd("binary_compressed", b"1234"), "ends early"),
    "too short": (pcd("binary_compressed", struct.pack("<II", 9, 48)), "claims 48 bytes for 3 points of 16"),
    "before the beginning": (pcd("binary_compressed", struct.pack("<II", 2, 48) + b"\x20\0"), "before the beginning"),
    "longer": (pcd("binary_compressed", struct.pack("<II", 5, 48) + b"\0a\xe0\xff\0"), "more bytes than claimed"),
    "shorter": (pcd("binary_compressed", struct.pack("<II", 2, 48) + b"\0a"), "unpacks to 1 bytes instead of 48"),
}


@pytest.mark.parametrize("name", PCD_FAULTS)
def test_damaged_pcd(tmp_path, name):
    data, message = PCD_FAULTS[name]
    (tmp_path / "a.pcd").write_bytes(data)
    with pytest.raises(MeshError, match=message):
        read_pcd(tmp_path / "a.pcd")


def test_pcd_repeats_what_lies_further_back(tmp_path):
    """A reference to more bytes than it goes back repeats them; one that goes further back copies."""
    rows = np.frombuffer(bytes(range(12)) * 3, "<f4").reshape(3, 3)
    packed = bytes([11, *range(12)]) + bytes([(7 << 5), 24 - 9, 11])
    copied = bytes([23, *range(12), *range(12)]) + bytes([(7 << 5), 12 - 9, 11])
    for data in (packed, copied):
        body = struct.pack("<II", len(data), rows.nbytes) + data
        (tmp_path / "a.pcd").write_bytes(pcd("binary_compressed", body, "x y z", "4 4 4", "F F F"))
        np.testing.assert_array_equal(read_pcd(tmp_path / "a.pcd")[0], rows.T)


COLUMNS = {  # of a header line, and the rows below it
    "a key first": ("id,x,y,z", "7,1,2,3\n8,4,5,6", [[1, 2, 3], [4, 5, 6]], None),
    "another order": ("z;y;x", "3;2;1\n6;5;4", [[1, 2, 3], [4, 5, 6]], None),
    "normals before colours": (
        '"X","Y","Z","nx","ny","nz","Red","Green","Blue"',
        "1,2,3,0,0,1,255,0,0\n4,5,6,0,1,0,0,0,255",
        [[1, 2, 3], [4, 5, 6]],
        [[1, 0, 0], [0, 0, 1]],
    ),
    "what is no colour": ("x,y,z,a,b,c", "1,2,3,0,0,1\n4,5,6,0,1,0", [[1, 2, 3], [4, 5, 6]], None),
    "a comment": ("//X Y Z R G B", "1 2 3 0 1 0\n4 5 6 1 0 0", [[1, 2, 3], [4, 5, 6]], [[0, 1, 0], [1, 0, 0]]),
    "words of a comment": ("# x y z of a scan", "1 2 3\n4 5 6", [[1, 2, 3], [4, 5, 6]], None),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_those_that_a_header_names(tmp_path, name):
    header, rows, points, colors = COLUMNS[name]
    (tmp_path / "a.csv").write_text(f"{header}\n{rows}\n")
    cloud = read(tmp_path / "a.csv")
    assert cloud.points.tolist() == points
    assert (None if cloud.colors is None else cloud.colors.tolist()) == colors


def test_intensity_before_colours_in_pts_files(tmp_path):
    (tmp_path / "a.pts").write_text("2\n1 2 3 -900 255 0 0\n4 5 6 -1200 0 0 255\n")
    assert read(tmp_path / "a.pts").colors.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_pcd_repeats_earlier_bytes(tmp_path):
    """A run of zeros: one literal byte, then references to it."""
    rows = np.zeros((3, 3), np.float32)
    packed = bytes([0, 0]) + bytes([(7 << 5), 35 - 9, 0])
    body = struct.pack("<II", len(packed), rows.nbytes) + packed
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd("binary_compressed", body, "x y z", "4 4 4", "F F F"))
    np.testing.assert_array_equal(read_pcd(path)[0], rows)


BAD = {
    "empty.stl": (b"", "is empty"),
    "short.obj": (b"v 1 2\nf 1 2 3\n", "short.obj"),
    "no_faces.obj": (b"v 0 0 0\nv 1 0 0\n", "no faces"),
    "lies.obj": (b"glTF\x02\x00\x00\x00", "is a .glb file by its first bytes"),
    "cut.glb": (b"glTF\x02\x00\x00\x00\xff\xff\xff\x7f", "is no .glb file"),
    "cut.pcd": (pcd("binary", b"\0" * 8), "ends early"),
    "huge.pcd": (pcd("binary", b"").replace(b"POINTS 3", b"POINTS 99999999999"), "claims 99999999999 points"),
    "text.xyz": (b"hello\nworld\n", "no line of three numbers"),
    "no.ply": (b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n", "no.ply"),
    "empty.pcd": (pcd("binary", b"").replace(b"POINTS 3", b"POINTS 0"), "holds no point; leave it out"),
    "two.xyz": (b"1 2 3\n4 5\n", "not made of numbers"),
    "nan.xyz": (b"1 2 3\n4 5 nan\n" * 20, "NaN, infinite"),
    "names.csv": (b"x,y,z\n0,1,2,3\n", "names 3 columns and has 4"),
    "what.docx": (b"PK", "unknown suffix"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_sentence(tmp_path, name):
    if name.endswith(".glb"):
        pytest.importorskip("trimesh")
    data, message = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MeshError, match=message):
        read(tmp_path / name)


def test_what_is_not_there_or_cannot_be_opened(tmp_path):
    for name in ("gone.obj", "gone.npy"):
        with pytest.raises(MeshError, match=f"{name}' cannot be read: No such file"):
            read(tmp_path / name)
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(MeshError, match="folder.obj' cannot be read: Is a directory"):
        read(tmp_path / "folder.obj")


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.zeros((4, 2)), r"shape \(4, 2\), but must be \(N, 3\)"), (np.zeros((2, 4, 3)), r"shape \(2, 4, 3\)")],
)
def test_arrays_of_another_shape(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(MeshError, match=message):
        read(tmp_path / "a.npy")


def test_arrays_by_name_and_with_an_axis_too_many(tmp_path):
    np.save(tmp_path / "a.npy", CLOUD[None])
    np.testing.assert_array_equal(read(tmp_path / "a.npy").points, CLOUD)
    np.savez(tmp_path / "a.npz", xyz=CLOUD, rgb=np.round(COLORS * 255))
    np.testing.assert_allclose(read(tmp_path / "a.npz").colors, np.round(COLORS * 255) / 255, atol=1e-6)
    np.savez(tmp_path / "b.npz", other=CLOUD)
    (tmp_path / "c.npz").write_bytes(b"PK")
    np.savez(tmp_path / "d.npz", xyz=np.array([["a", "b", "c"]]))
    for name, message in (
        ("b.npz", "has none of the arrays points, .*, but other"),
        ("c.npz", "is no .npz file that can be read"),
        ("d.npz", "values instead of numbers"),
    ):
        with pytest.raises(MeshError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize(("suffix", "package"), [("las", "laspy"), ("e57", "pye57")])
def test_scans_that_are_damaged(tmp_path, suffix, package):
    pytest.importorskip(package)
    (tmp_path / f"a.{suffix}").write_bytes((b"LASF" if suffix == "las" else b"ASTM-E57") + bytes(300))
    with pytest.raises(MeshError, match=f"is no {suffix.upper()} file that can be read"):
        read(tmp_path / f"a.{suffix}")


def test_packages_that_are_not_there_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.las").write_bytes(b"LASF")
    (tmp_path / "a.glb").write_bytes(b"glTF")
    for package, name in (("laspy", "a.las"), ("trimesh", "a.glb")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MeshError, match=f"{name}' needs the package {package}; run: pip install"):
            read(tmp_path / name)


def test_a_sampled_mesh_has_points_on_its_faces_and_their_colours(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box((1, 2, 3))
    box.visual.face_colors = np.tile([255, 0, 0, 255], (12, 1))
    box.export(tmp_path / "a.ply")
    cloud = sample_file(tmp_path / "a.ply", num_points=64)
    assert cloud.kind == "mesh" and cloud.points.shape == (64, 3)
    places = cloud.points * cloud.scale + cloud.center
    assert (np.isclose(np.abs(places), [0.5, 1, 1.5], atol=1e-5).any(axis=1)).all()
    assert (np.asarray(cloud.colors) == [255, 0, 0]).all() or (np.asarray(cloud.colors) == [1, 0, 0]).all()


@pytest.mark.parametrize(("rows", "message"), [(1, "has 1 points"), (40, "has no extent")])
def test_clouds_that_show_nothing(tmp_path, rows, message):
    np.save(tmp_path / "a.npy", np.ones((rows, 3)))
    with pytest.raises(MeshError, match=message):
        sample_file(tmp_path / "a.npy", num_points=64)


def test_a_sampled_cloud_is_centred_in_the_unit_sphere_farthest_first(tmp_path):
    np.save(tmp_path / "a.npy", CLOUD + 1000)
    cloud = sample_file(tmp_path / "a.npy", num_points=64)
    assert cloud.points.shape == (64, 3) and cloud.kind == "points"
    np.testing.assert_allclose(cloud.points.mean(0), 0, atol=1e-6)
    assert np.linalg.norm(cloud.points, axis=1).max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(
        cloud.points[0] * cloud.scale + cloud.center - 1000,
        CLOUD[np.abs(CLOUD + 1000 - (cloud.points[0] * cloud.scale + cloud.center)).sum(1).argmin()],
        atol=1e-4,
    )
    few = sample_file(tmp_path / "a.npy", num_points=1000)
    assert few.points.shape == (1000, 3) and len(np.unique(few.points, axis=0)) == 500
