"""Networks as files that run without this project: the same numbers, the same decisions, no torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.torch_version import TorchVersion

from pointrecon.encoders import load_model
from pointrecon.tools.predict import command, portable
from pointrecon.utils.errors import InputError
from tests.miniature import TINY, run_main

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
HAS_ONNX = TorchVersion(torch.__version__) >= portable.ONNX_FROM
BLOCKED = """
import importlib.abc, runpy, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "pointrecon", "onnx"):
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def train(folder, data_root, **changes):
    """A checkpoint of a network with one block and four patches: writing it out takes as long as it has nodes."""
    small = {"model": {**TINY["model"], "depth": 1, "num_groups": 4}, "epochs": 1}
    return run_main(folder, data_root, **small, **changes) / "ckpt-last.pth"


@pytest.fixture(scope="module")
def small_checkpoint(tmp_path_factory, data_root):
    return train(tmp_path_factory.mktemp("small"), data_root)


@pytest.fixture(scope="module")
def small_classifier(tmp_path_factory, data_root, small_checkpoint):
    return train(tmp_path_factory.mktemp("classifier"), data_root, task="classify", init=str(small_checkpoint))


@pytest.fixture(scope="module")
def embedder(tmp_path_factory, small_checkpoint):
    if not HAS_ONNX:
        pytest.skip("this torch writes no such ONNX files")
    path = tmp_path_factory.mktemp("export") / "embedder.onnx"
    assert command.main(["export", "--ckpt", str(small_checkpoint), "--to", str(path), "--check"]) == 0
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, small_classifier):
    if not HAS_ONNX:
        pytest.skip("this torch writes no such ONNX files")
    path = tmp_path_factory.mktemp("export") / "classifier.onnx"
    portable.export_network(
        portable.ExportedClassifier(load_model(small_classifier).network),
        path,
        num_points=48,
        class_names=load_model(small_classifier).class_names,
    )
    return path


@pytest.mark.parametrize("kind", ["embedder", "classifier"])
def test_a_hundred_shapes_give_the_same_numbers_and_decisions(kind, request):
    checkpoint = "small_checkpoint" if kind == "embedder" else "small_classifier"
    model = load_model(request.getfixturevalue(checkpoint))
    found = portable.compare_with(model.network, request.getfixturevalue(kind), num_points=60)
    assert found.difference <= 1e-4 and found.decisions == 1 and found.rate > 0


def test_batch_and_number_of_points_are_free_and_units_do_not_matter(embedder, small_checkpoint):
    session = onnxruntime.InferenceSession(str(embedder))
    model = load_model(small_checkpoint)
    clouds = np.random.RandomState(5).randn(3, 48, 3).astype(np.float32)
    embedding, text = session.run(["embedding", "text"], {"points": 1000 * clouds + 70})
    wanted, in_words = model.embed_all(clouds)
    np.testing.assert_allclose(embedding, wanted.embeddings, atol=1e-3)
    np.testing.assert_allclose(text, in_words, atol=1e-3)
    for shape in ((1, 48, 3), (5, 90, 3)):
        assert session.run(["embedding"], {"points": np.random.randn(*shape).astype("f")})[0].shape == (shape[0], 48)


def test_only_standard_operators(embedder):
    import onnx

    model = onnx.load(embedder)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"} and not model.functions
    assert [item.version for item in model.opset_import if item.domain == ""] == [portable.OPSET]


def test_a_program_without_torch_and_without_this_project_uses_the_classifier(classifier, small_classifier, tmp_path):
    script = Path(__file__).with_name("consumer.py")
    code = [line for line in script.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    assert len(code) <= 15
    clouds = np.random.RandomState(0).randn(4, 48, 3) * [1, 0.2, 1]
    paths = [tmp_path / f"{row}.npy" for row in range(4)]
    for path, cloud in zip(paths, clouds, strict=True):
        np.save(path, cloud)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(script), str(classifier), *map(str, paths)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = load_model(small_classifier).classify(clouds)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1] for row in rows] == wanted.labels
    np.testing.assert_allclose([float(row[2]) for row in rows], wanted.scores.max(1), atol=1e-3)


def test_a_torch_export_file_gives_the_same_and_names_its_classes(small_classifier, tmp_path):
    path, extra = tmp_path / "c.pt2", {"class_names": ""}
    assert command.main(["export", "--ckpt", str(small_classifier), "--to", str(path)]) == 0
    program = torch.export.load(path, extra_files=extra).module()
    clouds = np.random.RandomState(1).randn(3, 48, 3)
    wanted = load_model(small_classifier).classify(clouds)
    assert json.loads(extra["class_names"]) == wanted.names
    np.testing.assert_allclose(program(torch.from_numpy(clouds).float())[0], wanted.scores, atol=1e-4)


def test_the_network_itself_is_left_as_it_was(small_checkpoint):
    network = load_model(small_checkpoint).network
    group = network.encoder.group
    portable.ExportedEmbedder(network)
    assert network.encoder.group is group


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "a.bin"), "must end with one of: .onnx .pt2"),
        (("--to", "a.onnx", "--what", "classifier"), "no trained classification head"),
        (("--to", "a.pt2", "--check"), "compares .onnx files"),
    ],
)
def test_mistakes(arguments, message, small_checkpoint, capsys):
    assert command.main(["export", "--ckpt", str(small_checkpoint), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_torch_that_cannot_says_so(small_checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(portable, "ONNX_FROM", "99.0")
    with pytest.raises(InputError, match=r"ONNX files need torch 99.0 or later, and this is .*; write .pt2"):
        portable.export_embedder(load_model(small_checkpoint).network, tmp_path / "a.onnx", num_points=48)


@pytest.mark.skipif(not HAS_ONNX, reason="this torch writes no such ONNX files")
def test_without_the_packages(small_checkpoint, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match="ONNX files need onnxscript"):
        portable.export_embedder(load_model(small_checkpoint).network, tmp_path / "a.onnx", num_points=48)
    assert not list(tmp_path.iterdir())
