"""Rebuilding the bundled file, on archives of two boxes each."""

import io
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from pointrecon.tools.prepare import sweethome3d
from pointrecon.tools.prepare.command import run
from pointrecon.utils.errors import InputError
from tests import ROOT

BOX = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
f 4 3 2 1\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    icon = io.BytesIO()
    Image.new("RGBA", (128, 140), (255, 0, 0, 128)).save(icon, "PNG")
    for source in sweethome3d.LICENCES:
        lines = []
        for number, wide in ((1, 10), (2, 40)):
            entry = {"id": f"{source}#{number}", "name": f"Box {number}", "tags": "t", "category": "Office"}
            entry |= {"creator": "c", "icon": "/a.png", "model": "/a.obj", "width": wide, "height": 20, "depth": 30}
            lines += [f"{key}#{number}={value}" for key, value in entry.items()]
        with zipfile.ZipFile(folder / f"{source}.sh3f", "w") as archive:
            archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines))
            archive.writestr("a.obj", BOX)
            archive.writestr("a.png", icon.getvalue())
    return folder


@pytest.fixture
def table(tmp_path, monkeypatch):
    path = tmp_path / "classes.tsv"
    names = [f"{source}#{number}" for source in sweethome3d.LICENCES for number in (1, 2)]
    rows = [
        f"{name}\t{'armchair' if row else 'animal'}\t{'test' if row == 3 else 'train'}"
        for row, name in enumerate(names)
    ]
    path.write_text("\n".join(["id\tfine\tsplit", *rows]))
    monkeypatch.setattr(sweethome3d, "TABLE", path)
    return path


def test_the_file_and_what_differs(archives, table, tmp_path, capsys):
    out, again = tmp_path / "a.h5", tmp_path / "b.h5"
    found = sweethome3d.find_archives(archives, None, out)
    assert [path.stem for path in found] == list(sweethome3d.LICENCES)
    bundled = ROOT / "data" / "sweethome3d" / "sweethome3d.h5"
    sweethome3d.rebuild(found, out, against=bundled, jobs=2)
    arguments = ["sweethome3d", "--archives", str(archives), "--out", str(again), "--against", str(out), "--jobs", "2"]
    assert run(arguments) == 0
    said = capsys.readouterr().out
    assert "points: the same" in said and "are the same byte for byte" in said
    assert "points: 0.000 times as far" in said
    with h5py.File(out) as file, h5py.File(bundled) as real:
        assert set(file) == set(real) and file.attrs["note"] == real.attrs["note"]
        assert {name: file[name].dtype for name in file} == {name: real[name].dtype for name in real}
        assert list(file["class_name"].asstr()[:2]) == ["other", "sofa"] and file["split"][3] == 1
        points = file["points"][1].astype(float)
        np.testing.assert_allclose(np.ptp(points, axis=0) / np.ptp(points[:, 0]), [1, 0.5, 0.75], atol=0.02)
        picture = np.asarray(Image.open(io.BytesIO(file["icon_webp"][0].tobytes())))
        assert picture.shape == (128, 128, 3) and abs(int(picture[64, 64, 1]) - 127) < 8  # half red on white


def test_pictures_and_labels_of_the_real_set_come_out_as_they_are():
    """The table that people made says the same as the file."""
    with h5py.File(ROOT / "data" / "sweethome3d" / "sweethome3d.h5") as file:
        known = sweethome3d.read_classes(sweethome3d.ROOT / "data" / "sweethome3d" / "classes.tsv")
        assert list(known) == list(file["id"].asstr()[:])
        assert [fine for fine, _ in known.values()] == list(file["fine"].asstr()[:])
        classes = [sweethome3d.CLASS_OF.get(fine, fine) for fine, _ in known.values()]
        assert classes == list(file["class_name"].asstr()[:])
        assert [split for _, split in known.values()] == file["split"][:].tolist()
        assert file.attrs["note"] == sweethome3d.NOTE


@pytest.mark.skipif(h5py.version.hdf5_version_tuple[0] != 2, reason="HDF5 of another layout")
def test_the_real_file_is_written_byte_for_byte(tmp_path):
    """All of it but the draw of the points follows from the archives and the table."""
    real = ROOT / "data" / "sweethome3d" / "sweethome3d.h5"
    with h5py.File(real) as file:
        known = sweethome3d.read_classes(ROOT / "data" / "sweethome3d" / "classes.tsv")
        texts = {name: list(file[name].asstr()[:]) for name in ("name", "tags", "category", "id", "creator", "source")}
        sizes = dict(zip(("width", "height", "depth"), file["size_cm"][:].T, strict=True))
        columns = {name: values for name, values in {**texts, **sizes}.items() if name != "source"}
        rows = [
            (tmp_path / f"{source}.sh3f", {name: str(values[row]) for name, values in columns.items()})
            for row, source in enumerate(texts["source"])
        ]
        fields = sweethome3d.fields_of(rows, known)
        pictures = [item.tobytes() for item in file["icon_webp"][:]]
        sweethome3d.write_file(tmp_path / "a.h5", fields, file["points"][:], pictures)
    assert (tmp_path / "a.h5").read_bytes() == real.read_bytes()


def test_what_is_missing_is_named(archives, table, tmp_path):
    with pytest.raises(InputError, match=r"lacks BlendSwap-CC-0\.sh3f"):
        sweethome3d.find_archives(tmp_path, None, tmp_path / "a.h5")
    with pytest.raises(InputError, match="there is no 'sweethome3d-furniture"):
        sweethome3d.find_archives(None, tmp_path, tmp_path / "a.h5")
    table.write_text("id\tfine\tsplit\nx\tbed\ttrain\n")
    with pytest.raises(InputError, match="take version 1.8"):
        sweethome3d.rebuild(sorted(archives.glob("*.sh3f")), tmp_path / "a.h5", against=tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()
