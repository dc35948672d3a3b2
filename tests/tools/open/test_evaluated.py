"""Networks with colours are measured while they train and afterwards, on sets with colours and without."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pointrecon.datasets.open.zero_shot import LVIS, MODELNET, SCAN, find_zero_shot_sets
from pointrecon.tools.checkpoints.pretrained import load_pretrained
from tests.datasets.open.layouts import MINI
from tests.miniature import write_data

SETS = {"lvis": LVIS, "modelnet": MODELNET, "scan": SCAN}
ZERO_SHOT = """evaluators={lvis: {type: zero_shot, query: both, ratio: 0.5, every: 1, data: {type: ObjaverseLVIS}},
modelnet: {type: zero_shot, query: both, ratio: 0.5, every: 1, data: {type: OpenModelNet40}},
scan: {type: zero_shot, query: both, ratio: 0.3, data: {type: OpenScanObjectNN, num_points: 32}}}"""
SIZES = ("data.num_points=48", "model.num_groups=12", "model.group_size=4", "model.num_heads=2", "device=cpu")


@pytest.fixture(scope="module")
def clouds(root):
    """Adds a miniature of the bundled set, and a folder of six red and blue clouds in two classes."""
    write_data(root)
    random = np.random.RandomState(0)
    header = "ply\nformat ascii 1.0\nelement vertex 60\n"
    header += "".join(f"property {kind}\n" for kind in ("float x", "float y", "float z"))
    header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue")) + "end_header\n"
    for number in range(6):
        path = root / "own" / "ab"[number % 2] / f"{number}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        color = "255 0 0" if number % 2 else "0 0 255"
        rows = [f"{x} {y} {z} {color}" for x, y, z in random.rand(60, 3)]
        path.write_text(header + "\n".join(rows) + "\n")
    return root


@pytest.fixture
def trained(launch):
    code, folder = launch("reconpp/zeroshot_base", "figures=false", ZERO_SHOT)
    assert code == 0
    return folder


def embed(network, points, colors, ratio):
    points = torch.as_tensor(points, dtype=torch.float32)
    points = points - points.mean(0)
    points = points / points.norm(dim=-1).max()
    if colors is not None:
        points = torch.cat([points, torch.as_tensor(colors, dtype=torch.float32)], dim=-1)
    return network.embed(points[None], ratio=ratio)[0]


def test_published_sets_are_followed_while_a_network_with_colours_trains(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    probes = [line for line in lines if "lvis_accuracy" in json.dumps(line)]
    assert len(probes) >= 2 and "modelnet_accuracy" in json.dumps(probes)
    result = json.dumps(json.loads((trained / "result.json").read_text()))
    assert result.count('class_features": "stored') == 3 and "scan_top3_accuracy" in result
    network, _ = load_pretrained(trained / "ckpt-last.pth", num_groups=12, group_size=4, num_heads=2)
    sets = {one.name: one for one in find_zero_shot_sets(MINI)}
    for name, key in SETS.items():
        one, count, ratio = sets[key], *((32, 0.3) if key == SCAN else (48, 0.5))
        file = np.load(trained / f"predictions-{name}.npz")
        classes = F.normalize(torch.from_numpy(one.class_features), dim=-1)
        for row in range(len(one)):
            points, colors = one.read(row)
            assert (colors is None) == (key == SCAN)
            wanted = embed(network, points[:count], None if colors is None else colors[:count], ratio)
            np.testing.assert_allclose(
                file["similarities"][row], F.normalize(wanted, dim=-1) @ classes.T, atol=2e-3 if key == LVIS else 1e-5
            )
        assert file["labels"].tolist() == one.labels.tolist() and list(file["class_names"]) == list(one.class_names)


def test_a_set_with_colours_gives_its_own_and_one_without_the_constant_one(launch, clouds):
    own = {"type": "Folder", "root": str(clouds / "own"), "options": {"up": "y", "jobs": 1}}
    evaluators = {
        "own": {"type": "embeddings", "data": own},
        "plain": {"type": "embeddings", "data": {**own, "options": {"up": "y", "jobs": 1, "colors": False}}},
        "bundled": {"type": "embeddings", "splits": ["test"], "data": {"type": "SweetHome3D"}},
    }
    # The miniature's training objects all have colours, which are not dropped, so that the weights are the same.
    common = ("figures=false", "epochs=1", "data.augment.color_drop=0", f"evaluators={json.dumps(evaluators)}")
    code, folder = launch("reconpp/zeroshot_base", *common)
    assert code == 0
    own, plain = (np.load(folder / f"embeddings-{name}.npz")["embeddings"] for name in ("own", "plain"))
    assert own.shape == plain.shape and np.abs(own - plain).max() > 1e-3
    code, other = launch("reconpp/zeroshot_base", *common, "model.color_fill=0.9", name="other")
    assert code == 0
    for name, changes in (("own", False), ("plain", True), ("bundled", True)):
        one, two = (np.load(path / f"embeddings-{name}.npz")["embeddings"] for path in (folder, other))
        assert (np.abs(one - two).max() > 1e-3) == changes, name


def test_commands_start_from_a_network_with_colours(launch, clouds, trained, capsys):
    weights = f"init={trained / 'ckpt-last.pth'}"
    code, folder = launch("reconpp/zeroshot_sets", weights, *SIZES, "figures=false", sizes=(), name="sets")
    assert code == 2 and "evaluators.scanobjectnn: data.num_points is 2048" in capsys.readouterr().err
    few = "evaluators.scanobjectnn.data.num_points=32"
    code, folder = launch("reconpp/zeroshot_sets", weights, *SIZES, "figures=false", few, sizes=(), name="sets")
    assert code == 0
    first, second = (
        np.load(path)["similarities"]
        for path in (trained / "predictions-modelnet.npz", folder / "predictions-modelnet40.npz")
    )
    np.testing.assert_allclose(first, second, atol=1e-5)
    own = ("data.type=Folder", f"data.root={clouds / 'own'}")
    for data in (("data.type=SweetHome3D",), own):
        code, _ = launch("svm/modelnet40", weights, *SIZES, *data, "figures=false", sizes=(), name=f"svm{len(data)}")
        assert code == 0
        fine = ("model.mask_type=random", "classifier.rebuild_weight=0", "epochs=1", "batch_size=4")
        code, path = launch(
            "reconpp/finetune_modelnet",
            weights,
            *SIZES,
            *data,
            *fine,
            "data.sample_pool=null",
            "figures=false",
            sizes=(),
            name=f"fine{len(data)}",
        )
        assert code == 0


def test_objects_that_were_trained_on_are_counted(launch, capsys):
    evaluators = "evaluators={lvis: {type: zero_shot, data: {type: ObjaverseLVIS}}}"
    assert launch("reconpp/zeroshot_base", "figures=false", evaluators, "epochs=1")[0] == 0
    assert "among those that the network was trained on" not in capsys.readouterr().out
    listed = "data.options={objects: train_all}"
    assert launch("reconpp/zeroshot_base", "figures=false", evaluators, listed, "epochs=1", name="b")[0] == 0
    assert "2 of the 2 objects that 'lvis' measures are among those" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{data: {type: ObjaverseLVIS, options: {folder: nowhere}}}", "nowhere' is no folder"),
        ("{data: {type: OpenModelNet40, num_points: 65}}", "evaluators.a: data.num_points is 65"),
        ("{data: {type: OpenScanObjectNN, options: {part: half}}}", "data.options.part"),
        ("{data: {type: SweetHome3D}}", "evaluators.a.classes=FILE.npz"),
        ("{data: {type: OpenModelNet40}, classes: nowhere.npz}", "nowhere.npz' does not exist"),
        ("{data: {type: OpenModelNet40}, teacher: {typ: x}}", "typ"),
        ("{data: {type: OpenModelNet40}, teacher: 3}", "evaluators.a.teacher is 3"),
        ("{type: svm, data: {type: OpenModelNet40}}", "the split 'train' of OpenModelNet40 has no object"),
    ],
)
def test_mistakes_are_one_sentence(launch, root, capsys, options, message):
    options = options if "type: svm" in options else options.replace("{data", "{type: zero_shot, data", 1)
    (root / "sweethome3d" / "teachers.h5").unlink(missing_ok=True)
    if "SweetHome3D" in options and not (root / "sweethome3d").is_dir():
        write_data(root)
        (root / "sweethome3d" / "teachers.h5").unlink()
    code, _ = launch("reconpp/zeroshot_base", f"evaluators={{a: {options}}}")
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("error:") == 1 and "Traceback" not in err


def test_classes_may_have_features_of_ones_own(launch, clouds, tmp_path):
    names = ["ball", "plate", "rod", "more"]
    np.savez(tmp_path / "classes.npz", names=names, features=np.random.RandomState(0).randn(4, 16))
    evaluator = {"type": "zero_shot", "classes": str(tmp_path / "classes.npz"), "data": {"type": "SweetHome3D"}}
    code, folder = launch("reconpp/zeroshot_base", "epochs=1", f"evaluators={json.dumps({'a': evaluator})}")
    assert code == 0 and np.load(folder / "predictions-a.npz")["similarities"].shape[1] == 3
