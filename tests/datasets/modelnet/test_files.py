"""The three forms of ModelNet in miniature: each gives the same kind of objects, and damage is refused by file name."""

import pickle

import h5py
import numpy as np
import pytest
import torch

from pointrecon.datasets.modelnet.class_names import MODELNET10, MODELNET40
from pointrecon.datasets.modelnet.files import ModelNetFiles, read_label, read_text_cloud
from pointrecon.extensions import ops
from pointrecon.utils.errors import InputError

CLASSES = ("airplane", "night_stand", "toilet")
IDS = [f"{name}_{number:04d}" for name in CLASSES for number in (1, 2)]
CLOUDS = np.random.RandomState(0).randn(6, 32, 6).astype(np.float32)
LABELS = [MODELNET40.index(name) for name in CLASSES for _ in range(2)]


@pytest.fixture
def files(tmp_path):
    """The lists of ModelNet40, with the line ends of another system, and no objects yet."""
    made = ModelNetFiles(tmp_path, 40, num_points=32)
    made.folder.mkdir(parents=True)
    (made.folder / "modelnet40_shape_names.txt").write_bytes("\r\n".join(MODELNET40).encode())
    made.list_path("train").write_text("\n\n".join(IDS))
    return made


def write_dat(files, clouds=CLOUDS, labels=LABELS):
    content = [list(clouds), [np.array([label]) for label in labels]]
    files.dat_path("train").write_bytes(pickle.dumps(content))


def write_txt(files, clouds=CLOUDS):
    for name, cloud in zip(IDS, clouds, strict=True):
        path = files.folder / name.rpartition("_")[0] / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        np.savetxt(path, cloud, delimiter=",", fmt="%.6f")


def write_hdf5(files, folder=None):
    folder = folder or files.root / "modelnet40_ply_hdf5_2048"
    folder.mkdir(parents=True)
    (folder / "shape_names.txt").write_text("\n".join(MODELNET40))
    names = [f"ply_data_train{number}.h5" for number in range(2)]
    (folder / "train_files.txt").write_text("\n".join(f"data/modelnet40_ply_hdf5_2048/{name}" for name in names))
    for number, name in enumerate(names):
        with h5py.File(folder / name, "w") as file:
            part = slice(3 * number, 3 * number + 3)
            file.create_dataset("data", data=CLOUDS[part, :, :3], compression="gzip")
            file["label"] = np.array(LABELS[part], dtype=np.uint8)[:, None]
    return folder


def test_dat(files):
    write_dat(files)
    packed = files.open_part("train")
    assert packed.ids == IDS and packed.labels.tolist() == LABELS and packed.class_names == list(MODELNET40)
    assert packed.is_fps_ordered and packed.kind == "dat"
    np.testing.assert_array_equal(packed.clouds[4], CLOUDS[4, :, :3])
    assert packed.clouds.path == files.folder / "packed" / "modelnet40_train_32.h5"


def test_dat_of_plain_coordinates_and_numbers(files):
    files.dat_path("train").write_bytes(pickle.dumps([[cloud[:, :3] for cloud in CLOUDS], LABELS]))
    np.testing.assert_array_equal(files.open_part("train").clouds[5], CLOUDS[5, :, :3])


def test_txt_is_sampled_to_farthest_points(files):
    write_txt(files)
    packed = ModelNetFiles(files.root, 40, num_points=20).open_part("train")
    assert packed.ids == IDS and packed.labels.tolist() == LABELS and packed.is_fps_ordered and packed.kind == "txt"
    stored = torch.from_numpy(np.round(CLOUDS[3:4, :, :3].astype(np.float64), 6).astype(np.float32))
    np.testing.assert_array_equal(packed.clouds[3], ops.gather(stored, ops.fps(stored, 20))[0].numpy())


@pytest.mark.parametrize("nested", ["", "ModelNet"])
def test_hdf5_in_either_place(tmp_path, nested):
    files = ModelNetFiles(tmp_path, 40)
    folder = write_hdf5(files, tmp_path / nested / "modelnet40_ply_hdf5_2048")
    packed = files.open_part("train")
    assert packed.labels.tolist() == LABELS and packed.class_names == list(MODELNET40)
    assert packed.ids[4] == "ply_data_train1-0001" and not packed.is_fps_ordered
    np.testing.assert_array_equal(packed.clouds[4], CLOUDS[4, :, :3])
    assert packed.clouds.path == folder / "packed" / "modelnet40_train_2048.h5"


def test_ten_classes_of_the_hdf5_form_go_by_name(tmp_path):
    files = ModelNetFiles(tmp_path, 10)
    write_hdf5(files)
    packed = files.open_part("train")
    assert packed.class_names == list(MODELNET10)
    assert [MODELNET10[label] for label in packed.labels] == ["night_stand", "night_stand", "toilet", "toilet"]
    np.testing.assert_array_equal(packed.clouds[0], CLOUDS[2, :, :3])


def test_auto_takes_dat_before_txt_before_hdf5(files):
    write_hdf5(files)
    assert files.open_part("train").kind == "hdf5"
    write_txt(files)
    assert files.open_part("train").kind == "txt"
    assert files.open_part("train", "hdf5").kind == "hdf5"
    (files.folder / "packed" / "modelnet40_train_32.h5").unlink()
    write_dat(files)
    assert files.open_part("train").kind == "dat"


def test_packed_file_alone_is_enough(files):
    """The pickle is 2 GB: who deletes it after packing goes on, without falling back to another form."""
    write_dat(files)
    files.open_part("train")
    write_hdf5(files)
    files.dat_path("train").unlink()
    assert files.open_part("train").kind == "dat"


@pytest.mark.parametrize("source", ["auto", "dat", "txt", "hdf5"])
def test_missing_data_set_says_what_is_looked_for(tmp_path, source):
    wanted = {"auto": "fps.dat' or .*txt' or .*files.txt'", "dat": "fps.dat'", "txt": "<object>.txt'", "hdf5": "h5"}
    with pytest.raises(InputError, match=rf"no ModelNet40 \(train\): .*{wanted[source]}.*https://.*data_root"):
        ModelNetFiles(tmp_path, 40).open_part("train", source)


@pytest.mark.parametrize("name", ["modelnet40_shape_names.txt", "modelnet40_train.txt"])
def test_missing_list_is_named(files, name):
    write_dat(files)
    (files.folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name}' cannot be read .*it lists the .* is in https://"):
        files.open_part("train")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([*IDS[:5], "toilett_0001"], "there is no class 'toilett'.*did you mean 'toilet'"),
        ([*IDS[:5], IDS[0]], "lists 'airplane_0001' twice"),
        (IDS[:5], "for the 5 objects of 'modelnet40_train.txt', but does not"),
        ([*IDS[:3], IDS[4], IDS[3], IDS[5]], "object 3 is a 'night_stand', but .* has 'toilet_0001' there"),
    ],
)
def test_list_that_does_not_fit_is_refused(files, ids, message):
    write_dat(files)
    files.list_path("train").write_text("\n".join(ids))
    with pytest.raises(InputError, match=message):
        files.open_part("train")


def test_dropped_class_is_noticed(files):
    write_dat(files)
    (files.folder / "modelnet40_shape_names.txt").write_text("\n".join(MODELNET40[:-1]))
    with pytest.raises(InputError, match=r"shape_names\.txt' lists 39 classes, but must list 40"):
        files.open_part("train")


@pytest.mark.parametrize("form", ["dat", "hdf5"])
def test_a_class_given_twice_shifts_no_labels(tmp_path, files, form):
    write_dat(files)
    folder = write_hdf5(files)
    path = folder / "shape_names.txt" if form == "hdf5" else files.folder / "modelnet40_shape_names.txt"
    path.write_text("\n".join(["airplane", *MODELNET40]))
    with pytest.raises(InputError, match=r"shape_names\.txt' lists 'airplane' twice"):
        files.open_part("train", form)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": 1}, "must hold a list of clouds and a list of labels"),
        ([CLOUDS, LABELS[:5]], "must hold a list of clouds and a list of labels"),
        ([list(CLOUDS), [*LABELS[:5], 40]], "has the label 40, but labels are whole numbers from 0 to 39"),
        ([list(CLOUDS[:5]) + [CLOUDS[5, :31]], LABELS], "object 'toilet_0002' in .*31 points, but must have 32"),
        ([list(CLOUDS[:5]) + [CLOUDS[5] * np.nan], LABELS], "object 'toilet_0002' in .*NaN"),
    ],
)
def test_damaged_dat_is_refused(files, content, message):
    files.dat_path("train").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        files.open_part("train")
    assert "32pts_fps.dat" in str(caught.value)
    assert not list(files.folder.glob("packed/*"))


def test_truncated_or_hostile_dat_is_refused(files):
    write_dat(files)
    data = files.dat_path("train").read_bytes()
    files.dat_path("train").write_bytes(data[:-100])
    with pytest.raises(InputError, match=r"32pts_fps\.dat' .* is not a complete pickle"):
        files.open_part("train")
    files.dat_path("train").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match=r"32pts_fps\.dat' is refused: it asks for 'os\.system'"):
        files.open_part("train")


@pytest.mark.parametrize("text", [None, "", "1,2,3\n4,5\n", "a,b,c\n", "1 2 3\n" * 40, "1,2,3,0,0,1\n" * 31])
def test_damaged_txt_is_refused_or_skipped(files, text):
    write_txt(files)
    path = files.folder / "night_stand" / "night_stand_0001.txt"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"night_stand_0001\.txt'"):
        files.open_part("train")
    packed = files.open_part("train", on_error="skip")
    assert packed.num_skipped == 1 and packed.ids == IDS[:2] + IDS[3:]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda file: file.pop("data"), "lacks 'data'"),
        (lambda file: (file.pop("label"), file.create_dataset("label", data=[1, 2])), r"\(3, 32, 3\) and 2 labels"),
        (lambda file: file["label"].__setitem__(1, 40), "has the label 40"),
        (lambda file: (file.pop("data"), file.create_dataset("data", data=np.zeros((3, 96)))), r"shape \(3, 96\)"),
        (lambda file: (file.pop("data"), file.create_dataset("data", data=CLOUDS[:3, :8, :3])), r"\(n, 32, 3\)"),
        (lambda file: (file.pop("label"), file.create_group("label")), "'label' is no array"),
    ],
)
def test_damaged_hdf5_is_refused(tmp_path, edit, message):
    files = ModelNetFiles(tmp_path, 40)
    folder = write_hdf5(files)
    with h5py.File(folder / "ply_data_train1.h5", "a") as file:
        edit(file)
    with pytest.raises(InputError, match=rf"ply_data_train1\.h5' .*{message}"):
        files.open_part("train")


def test_missing_hdf5_is_refused(tmp_path):
    files = ModelNetFiles(tmp_path, 40)
    (write_hdf5(files) / "ply_data_train1.h5").unlink()
    with pytest.raises(InputError, match=r"ply_data_train1\.h5' does not exist"):
        files.open_part("train")


@pytest.mark.parametrize("value", [3, np.array([3]), np.int32(3), np.array(3.0), [3]])
def test_label_in_any_form(value):
    assert read_label(value, 4, "x") == 3


@pytest.mark.parametrize("value", [4, -1, 0.5, "3", [1, 2], [], None, float("nan")])
def test_bad_label(value):
    with pytest.raises(InputError, match="x has the label .* from 0 to 3"):
        read_label(value, 4, "x")


def test_text_cloud_of_one_point(tmp_path):
    (tmp_path / "a.txt").write_text("1,2,3\r\n")
    assert read_text_cloud(tmp_path / "a.txt").tolist() == [[1, 2, 3]]


def test_text_clouds_with_marks_blanks_and_every_line_end(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("\ufeff1,2,3\r\n4,5,6\r\n", " 1 , 2,3 \n\n4,5 ,6", "1,2,3\r4,5,6"):
        path.write_bytes(text.encode())
        assert read_text_cloud(path).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_text_is_rounded_to_float32_once(tmp_path):
    """As it is when NumPy reads float32 at once."""
    values = np.random.RandomState(0).randn(500, 6)
    np.savetxt(tmp_path / "a.txt", values, delimiter=",", fmt="%.9f")
    direct = np.loadtxt(tmp_path / "a.txt", dtype=np.float32, delimiter=",")
    np.testing.assert_array_equal(read_text_cloud(tmp_path / "a.txt").astype(np.float32), direct)


def test_a_rewritten_text_file_is_packed_again(files):
    write_txt(files)
    packed = files.open_part("train", "txt")
    before = [packed.read(row) for row in range(len(IDS))]
    path = files.folder / IDS[2].rpartition("_")[0] / f"{IDS[2]}.txt"
    cloud = np.loadtxt(path, delimiter=",")
    np.savetxt(path, 2 * cloud, delimiter=",", fmt="%.6f")
    after = files.open_part("train", "txt")
    np.testing.assert_allclose(after.read(2), 2 * before[2], atol=1e-5)
    np.testing.assert_array_equal(after.read(3), before[3])
