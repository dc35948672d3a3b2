"""A miniature of the bundled data set, with teachers, and a network that trains on it in a second."""

import h5py
import numpy as np
import pytest
import yaml

import main
from pointrecon.datasets.teacher_cache.writer import ImageFeatures, TextFeatures, write_features

CLASSES = ["ball", "plate", "rod"]
STRETCH = np.array([[1, 1, 1], [1, 0.1, 1], [0.1, 1, 0.1], [0.3, 1, 2]])
NUM_OBJECTS = 80  # 20 of each class and 20 of `other`; a quarter of each class is tested on
TINY = {
    "task": "pretrain",
    "epochs": 2,
    "batch_size": 8,
    "device": "cpu",
    "figures": False,
    "keep": "all",  # tests look into the checkpoints
    "optim": {"lr": 2e-3, "warmup_epochs": 1, "grad_clip": 10.0},
    "model": {
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 2,
        "num_groups": 8,
        "group_size": 4,
        "decoder_depth": 1,
        "decoder_num_heads": 2,
    },
    "data": {"num_points": 48},
}


def write_data(root):
    """Writes <root>/sweethome3d/{sweethome3d,teachers}.h5: the class stretches the shape, and the features know it."""
    random = np.random.RandomState(0)
    folder = root / "sweethome3d"
    folder.mkdir(parents=True)
    labels = np.arange(NUM_OBJECTS) % 4
    points = random.randn(NUM_OBJECTS, 64, 3)
    points = points / np.linalg.norm(points, axis=-1, keepdims=True) * STRETCH[labels][:, None]
    ids = [f"object{row}" for row in range(NUM_OBJECTS)]
    names = [f"thing {row % 8}" for row in range(NUM_OBJECTS)]
    with h5py.File(folder / "sweethome3d.h5", "w") as file:
        file["points"] = points.astype(np.float16)
        file["class"] = labels.astype(np.int16)
        file["split"] = ((np.arange(NUM_OBJECTS) // 4 % 4 == 0) & (labels < 3)).astype(np.int8)
        for name, values in (("id", ids), ("name", names)):
            file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        file.create_dataset("icon_webp", (NUM_OBJECTS,), dtype=h5py.vlen_dtype(np.uint8))
        file.attrs["classes"] = [*CLASSES, "other"]
    image = random.randn(NUM_OBJECTS, 2, 10).astype(np.float32) + 3 * np.eye(4, 10)[labels][:, None]
    text = np.eye(4, 6, dtype=np.float32)
    prompts = np.stack([[text[int(name.split()[1]) % 4]] * 2 for name in sorted(set(names))])
    write_features(
        folder / "teachers.h5",
        ImageFeatures(ids, [image]),
        TextFeatures(
            ids, names, prompts, ["{}.", "A {}."], CLASSES, np.stack([text[:3]] * 2, axis=1), ["{}.", "A {}."]
        ),
    )


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """A data root with the miniature; not to be changed."""
    root = tmp_path_factory.mktemp("data")
    write_data(root)
    return root


def run_main(folder, data_root, *arguments, name="run", **changes):
    """Runs main.py on the miniature as `launch` does, for the fixtures of a module; returns the run folder."""
    config = folder / "cfgs" / "tiny.yaml"
    config.parent.mkdir(exist_ok=True)
    own = {"data_root": str(data_root), "output_root": str(folder / "out")}
    config.write_text(yaml.dump({**TINY, **own, **changes}))
    main.run(["--config", str(config), "--exp_name", name, *map(str, arguments)])
    return folder / "out" / "tiny" / "cfgs" / name


@pytest.fixture
def launch(tmp_path, data_root, monkeypatch):
    """launch(*arguments, **changes) runs main.py in this process and returns (exit code, run folder)."""
    config = tmp_path / "cfgs" / "tiny.yaml"
    config.parent.mkdir()
    config.write_text(yaml.dump({**TINY, "data_root": str(data_root), "output_root": str(tmp_path / "out")}))

    def run(*arguments, name="run"):
        argv = ["main.py", "--config", str(config), "--exp_name", name, *map(str, arguments)]
        monkeypatch.setattr("sys.argv", argv)
        return main.main(), run.folder(name)

    run.folder = lambda name: tmp_path / "out" / "tiny" / "cfgs" / name
    return run


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, data_root):
    """A pretraining checkpoint of the tiny network, made by main.py; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    config = folder / "tiny.yaml"
    config.write_text(yaml.dump({**TINY, "data_root": str(data_root), "output_root": str(folder / "out")}))
    main.run(["--config", str(config), "--exp_name", "a", "epochs=1"])
    (path,) = (folder / "out").rglob("ckpt-last.pth")
    return path


@pytest.fixture(scope="session")
def classifier_checkpoint(tmp_path_factory, data_root, tiny_checkpoint):
    """The same network fine-tuned by main.py for an epoch; not to be changed."""
    folder = tmp_path_factory.mktemp("classifier")
    config = folder / "tiny.yaml"
    tree = {**TINY, "task": "classify", "epochs": 1, "data_root": str(data_root), "output_root": str(folder / "out")}
    config.write_text(yaml.dump({**tree, "init": str(tiny_checkpoint)}))
    main.run(["--config", str(config), "--exp_name", "a"])
    (path,) = (folder / "out").rglob("ckpt-last.pth")
    return path
