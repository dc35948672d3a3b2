"""What is fuzzed of the data sets: every published form in miniature, and what counts as a right result.

Shape legend: N points an object.
"""

import io
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.modelnet.class_names import MODELNET10, MODELNET40
from pointrecon.datasets.opening import open_split
from pointrecon.datasets.sets.scanobjectnn import CLASS_NAMES, VARIANTS
from pointrecon.datasets.shapenetpart.files import CATEGORIES, FOLDER
from pointrecon.datasets.splits import Choice
from pointrecon.datasets.teacher_cache.reader import FeatureCache
from pointrecon.datasets.teacher_cache.writer import ImageFeatures, TextFeatures, write_features
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import spoil_array, spoil_bytes, spoil_hdf5, spoil_leaf, spoil_text, spoil_tree

NUM_POINTS = 16


def spoil_file(path: Path, rng: random.Random) -> None:
    """Spoils a file of a data set, mostly in a way that fits its kind."""
    data = path.read_bytes()
    if rng.random() < 0.35:
        path.write_bytes(spoil_bytes(data, rng))
    elif path.suffix == ".h5":
        spoil_hdf5(path, rng)
    elif path.suffix in (".dat", ".pkl"):
        content = spoil_tree(pickle.loads(data), rng, spoil_leaf)  # valid, and made below: not from outside
        path.write_bytes(pickle.dumps(content, rng.randrange(6)))
    elif path.suffix == ".npy":
        kind = rng.choice(("array", "header"))
        if kind == "array":
            np.save(path, np.asarray(spoil_array(np.load(path), rng)), allow_pickle=True)
        else:
            header, values = data[10:128].decode(), data[128:]
            text = spoil_text(header, rng).encode("utf-8", "replace")[:60000]
            path.write_bytes(data[:8] + len(text).to_bytes(2, "little") + text + values)
    elif path.suffix == ".json" and rng.random() < 0.5:
        path.write_text(json.dumps(spoil_tree(json.loads(data), rng, _spoil_json), default=str, skipkeys=True))
    elif path.suffix in (".txt", ".json"):
        path.write_text(spoil_text(data.decode(), rng), encoding="utf-8", errors="surrogatepass")
    else:
        path.write_bytes(spoil_bytes(data, rng))


def _spoil_json(value: Any, rng: random.Random) -> Any:
    return rng.choice((None, True, 0, -1, 10**30, 0.5, "", "text", "../x", "a/../b", "\0", [], {}, [[[1]]], "x" * 500))


def check_items(dataset: Any, num_points: int | None = NUM_POINTS, parts: int = 0) -> None:
    """Looks at the items of a data set.

    Raises:
        WrongResult: Something in one is not of the right type, shape or range.
    """
    labels = [int(label) for label in dataset.labels]
    is_consistent = len(dataset) == len(labels) == len(dataset.ids) == len(dataset.names)
    if not is_consistent or any(not -1 <= label < (dataset.num_classes or 1 << 63) for label in labels):
        raise WrongResult("labels, ids and names do not belong together")
    shapes = set()
    for row in range(len(dataset)):
        item = dataset[row]
        points = item["points"]
        shapes.add(tuple(points.shape))
        if points.dtype != torch.float32 or points.dim() != 2 or points.shape[1] != 3 or not len(points):
            raise WrongResult(f"points are {points.dtype} {tuple(points.shape)}")
        if not points.isfinite().all():
            raise WrongResult("coordinates are not finite")
        if item["label"] != labels[row] or not all(isinstance(item[key], str) for key in ("text", "id")):
            raise WrongResult("label, text or id is wrong")
        if parts and not (
            item["part"].shape == points.shape[:1] and 0 <= item["part"].min() <= item["part"].max() < parts
        ):
            raise WrongResult("part labels are wrong")
        image = item.get("image")
        if image is not None and not (image.dim() == 3 and len(image) == 3 and 0 <= image.min() <= image.max() <= 1):
            raise WrongResult("a picture is wrong")
    if len(shapes) > 1 or (num_points and shapes - {(num_points, 3)}):
        raise WrongResult(f"points are of shapes {sorted(shapes)}")


def read_dataset(
    kind: str, splits: tuple[str, ...], size: int | None = NUM_POINTS, parts: int = 0, **options: Any
) -> Callable[[Path], None]:
    """Makes a function that reads the splits of a data set, and asks for its state.

    Args:
        kind: Name of the data set.
        splits: The ones to open.
        size: Points a cloud; None: any number.
        parts: Number of part labels.
        options: Fields of `Choice`, and options of the data set.
    """
    chosen = {name: options.pop(name) for name in ("fold", "shots", "way") if name in options}

    def read(folder: Path) -> None:
        for state in DATASETS.get(kind).survey(str(folder)):
            if state.status not in ("complete", "incomplete", "not found"):
                raise WrongResult("the survey has no status")
        for split in splits:
            choice = Choice(split=split, **({} if split != "train" and "way" not in chosen else chosen))
            check_items(open_split(kind, str(folder), choice, options), size, parts)

    return read


def _clouds(count: int, columns: int = 3) -> np.ndarray:
    return np.random.RandomState(count).randn(count, NUM_POINTS, columns).astype(np.float32)


def write_shapenet(folder: Path) -> None:
    """ShapeNet-55: lists, names of categories, arrays, pictures."""
    from PIL import Image

    folder = folder / "ShapeNet55-34"
    for name in ("shapenet_pc", "shapenet_img", "ShapeNet-55"):
        (folder / name).mkdir(parents=True)
    numbers = {"2691156": "airplane", "2808440": "bathtub", "4379243": "table"}
    entries = [{"catalogue": number, "describe": name} for number, name in numbers.items()]
    (folder / "shapenet55.json").write_text(json.dumps(entries))
    ids = [f"{number.zfill(8)}-{row}" for number in numbers for row in range(2)]
    for part, names in (("train", ids[:4]), ("test", ids[4:])):
        (folder / "ShapeNet-55" / f"{part}.txt").write_text("".join(f"{name}.npy\n" for name in names))
    for name, points in zip(ids, _clouds(6), strict=True):
        np.save(folder / "shapenet_pc" / f"{name}.npy", points)
        Image.new("RGB", (9, 7), (10, 100, 200)).save(folder / "shapenet_img" / f"{name}.png")


def _write_modelnet_lists(folder: Path) -> list[str]:
    folder.mkdir(parents=True)
    (folder / "modelnet10_shape_names.txt").write_text("\n".join(MODELNET10))
    ids = {part: [f"{name}_{number}" for name in MODELNET10] for part, number in (("train", "0001"), ("test", "0002"))}
    for part, names in ids.items():
        (folder / f"modelnet10_{part}.txt").write_text("\n".join(names))
    return [*ids["train"], *ids["test"]]


def write_modelnet_dat(folder: Path) -> None:
    """ModelNet10 as pickles."""
    folder = folder / "ModelNet" / "modelnet40_normal_resampled"
    _write_modelnet_lists(folder)
    content = [list(_clouds(10, 6)), [np.array([label]) for label in range(10)]]
    for part in ("train", "test"):
        (folder / f"modelnet10_{part}_{NUM_POINTS}pts_fps.dat").write_bytes(pickle.dumps(content))


def write_modelnet_txt(folder: Path) -> None:
    """ModelNet10 as text files, each with more points than are kept."""
    folder = folder / "ModelNet" / "modelnet40_normal_resampled"
    for name, points in zip(_write_modelnet_lists(folder), np.random.RandomState(0).randn(20, 20, 6), strict=True):
        path = folder / name.rpartition("_")[0] / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        np.savetxt(path, points, delimiter=",", fmt="%.4f")


def write_modelnet_hdf5(folder: Path) -> None:
    """ModelNet40 as compressed HDF5 files."""
    folder = folder / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    (folder / "shape_names.txt").write_text("\n".join(MODELNET40))
    for part in ("train", "test"):
        (folder / f"{part}_files.txt").write_text(f"data/modelnet40_ply_hdf5_2048/ply_data_{part}0.h5\n")
        with h5py.File(folder / f"ply_data_{part}0.h5", "w") as file:
            file.create_dataset("data", data=_clouds(40) * (2 if part == "test" else 1), compression="gzip")
            file.create_dataset("label", data=np.arange(40, dtype=np.uint8)[:, None], compression="gzip")


def write_modelnet_packed(folder: Path) -> None:
    """ModelNet10 as it is packed, without what it was packed from."""
    write_modelnet_dat(folder)
    for split in ("train", "test"):
        open_split("ModelNet10", str(folder), Choice(split=split), {"num_stored": NUM_POINTS})
    for path in (folder / "ModelNet" / "modelnet40_normal_resampled").glob("*.dat"):
        path.unlink()


def write_fewshot(folder: Path) -> None:
    """A few-shot fold."""
    path = folder / "ModelNetFewshot" / "3way2shot" / "0.pkl"
    path.parent.mkdir(parents=True)
    entries = [(points, row % 3, ("bed", "chair", "sofa")[row % 3]) for row, points in enumerate(_clouds(9, 6))]
    path.write_bytes(pickle.dumps({"train": entries[:6], "test": entries[6:]}))


def write_scanobjectnn(folder: Path) -> None:
    """ScanObjectNN's variant without background, one file of each kind of storage."""
    place, ending, *_ = VARIANTS["obj_only"]
    for part in ("training", "test"):
        path = folder / "ScanObjectNN" / place / f"{part}_{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {"compression": "gzip"} if part == "test" else {}
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=_clouds(len(CLASS_NAMES)) * (2 if part == "test" else 1), **options)
            file.create_dataset("label", data=np.arange(len(CLASS_NAMES), dtype=np.int32), **options)


def write_shapenetpart(folder: Path) -> None:
    """ShapeNetPart: lists and text files."""
    folder = folder / FOLDER
    (folder / "train_test_split").mkdir(parents=True)
    synsets = {name: f"{number:08d}" for number, name in enumerate(CATEGORIES, start=2691156)}
    (folder / "synsetoffset2category.txt").write_text("".join(f"{name}\t{key}\n" for name, key in synsets.items()))
    random_state = np.random.RandomState(0)
    for part, names in (("train", ("a1", "t1")), ("val", ("t2",)), ("test", ("a2",))):
        entries = []
        for name in names:
            category = "Airplane" if name[0] == "a" else "Table"
            path = folder / synsets[category] / f"{name}.txt"
            path.parent.mkdir(exist_ok=True)
            rows = random_state.randn(20, 7)
            rows[:, 6] = random_state.choice(list(CATEGORIES[category]), 20)
            np.savetxt(path, rows, fmt="%.4f")
            entries.append(f"shape_data/{synsets[category]}/{name}")
        (folder / "train_test_split" / f"shuffled_{part}_file_list.json").write_text(json.dumps(entries))


def write_shapenetpart_packed(folder: Path) -> None:
    """The same with its packed file, which is made again if it is found to be damaged."""
    write_shapenetpart(folder)
    for split in ("train", "test"):
        open_split("ShapeNetPart", str(folder), Choice(split=split), {"num_points": NUM_POINTS})


def write_sweethome3d(folder: Path) -> None:
    """The bundled data set's form."""
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 0)).save(picture, "webp")
    path = folder / "sweethome3d" / "sweethome3d.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["points"] = _clouds(12).astype(np.float16)
        file["class"] = np.array([0, 1, 2, 3] * 3, dtype=np.int16)
        file["split"] = np.array([0] * 8 + [1] * 4, dtype=np.int8)
        for name in ("id", "name"):
            file.create_dataset(name, data=[f"{name}{row}" for row in range(12)], dtype=h5py.string_dtype())
        icons = file.create_dataset("icon_webp", (12,), dtype=h5py.vlen_dtype(np.uint8))
        for row in range(12):
            icons[row] = np.frombuffer(picture.getvalue(), dtype=np.uint8)
        file.attrs["classes"] = ["bed", "desk", "lamp", "other"]


IDS = [f"id{row}" for row in range(6)]


def write_cache(folder: Path) -> None:
    """A teacher cache."""
    values = np.random.RandomState(0).randn(6, 2, 5).astype(np.float32)
    image = ImageFeatures(IDS, [values], {"model": "m"})
    names = [f"name{row % 2}" for row in range(6)]
    text = TextFeatures(
        IDS, names, values[:2], ["{}.", "A {}."], ["a", "b"], values[2:4], ["{}.", "A {}."], {"model": "m"}
    )
    write_features(folder / "teachers.h5", image, text)


def read_cache(folder: Path) -> None:
    """Reads all tables of a teacher cache."""
    cache = FeatureCache(folder / "teachers.h5")
    table = cache.image_table(IDS)
    prompts, rows = cache.name_table(IDS)
    classes = cache.class_table(["b", "a"])
    sizes = (table.dim(), len(table), prompts.dim(), len(rows), classes.dim(), len(classes))
    if sizes != (3, 6, 3, 6, 3, 2) or rows.min() < 0 or rows.max() >= len(prompts):
        raise WrongResult(f"tables have the sizes {sizes}")
    tables = (table, prompts, classes)
    if not all(x.isfinite().all() and x.dtype in (torch.float16, torch.float32) for x in tables):
        raise WrongResult("features are not finite")
    if not all(isinstance(text, str) for text in (*cache.templates(), *cache.missing("image", IDS))):
        raise WrongResult("texts are none")


MODELNET = read_dataset("ModelNet10", ("train", "test"), num_stored=NUM_POINTS)
PARTS = read_dataset("ShapeNetPart", ("train", "test"), parts=50, num_points=NUM_POINTS)
SHAPENET = read_dataset("ShapeNet55", ("pretrain", "test"), images=True, num_stored=NUM_POINTS)
FEW_SHOT = read_dataset("ModelNetFewShot", ("train", "test"), None, way=3, shots=2, fold=0)
SCANOBJECTNN = read_dataset("ScanObjectNN", ("train", "test"), None, variant="obj_only")
FORMS = (
    Form("ShapeNet55", write_shapenet, SHAPENET, spoil_file),
    Form("ModelNet dat", write_modelnet_dat, MODELNET, spoil_file),
    Form("ModelNet txt", write_modelnet_txt, MODELNET, spoil_file),
    Form("ModelNet hdf5", write_modelnet_hdf5, read_dataset("ModelNet40", ("train", "test")), spoil_file),
    Form("packed", write_modelnet_packed, MODELNET, spoil_file, spare=(".txt",)),
    Form("few-shot", write_fewshot, FEW_SHOT, spoil_file),
    Form("ScanObjectNN", write_scanobjectnn, SCANOBJECTNN, spoil_file),
    Form("ShapeNetPart", write_shapenetpart, PARTS, spoil_file),
    Form("ShapeNetPart packed", write_shapenetpart_packed, PARTS, spoil_file, spare=(".txt", ".json")),
    Form(
        "SweetHome3D",
        write_sweethome3d,
        read_dataset("SweetHome3D", ("pretrain", "test"), None, images=True),
        spoil_file,
    ),
    Form("teacher cache", write_cache, read_cache, spoil_file),
)
