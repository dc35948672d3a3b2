"""Evaluators on an encoder that knows the answer, and on one that does not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.base import Embedding, encode_dataset
from pointrecon.tools.evaluators.zero_shot import class_embeddings
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError


@pytest.fixture
def cfg(data_root, tmp_path):
    (tmp_path / "plain.yaml").write_text("task: evaluate\n")
    return load_config(tmp_path / "plain.yaml", [f"data_root={data_root}", "batch_size=8", "data.num_points=48"])


def see_stretch(points):
    """An encoder that sees how far a cloud reaches along each axis: enough to tell the miniature's classes."""
    reach = points.abs().amax(dim=1)  # (B, 3)
    is_plate, is_rod = reach[:, 1] < 0.3, reach[:, 0] < 0.2
    label = torch.where(is_plate, 1, torch.where(is_rod, 2, 0))
    queries = F.pad(reach, (0, 5)).unsqueeze(1).expand(-1, 3, -1)
    return Embedding(queries, queries, F.one_hot(label, 10).float(), F.one_hot(label, 6).float())


def see_nothing(points):
    ones = torch.ones(len(points), 3, 8)
    return Embedding(ones, ones, torch.ones(len(points), 10), torch.ones(len(points), 6))


def test_zero_shot(cfg, tmp_path):
    evaluator = EVALUATORS.build({"type": "zero_shot"}, cfg=cfg)
    ctx = SimpleNamespace(folder=tmp_path)
    report = evaluator.run(see_stretch, ctx)
    assert report["accuracy"] == 1.0 and report["num_objects"] == 15 and report["num_classes"] == 3
    assert report["split"] == "test" and report["query"] == "text"
    assert evaluator.run(see_nothing, ctx)["accuracy"] == pytest.approx(1 / 3)
    assert (tmp_path / "predictions-zero_shot.npz").is_file()


def test_zero_shot_refuses_what_it_cannot_compare(cfg, tmp_path):
    ctx = SimpleNamespace(folder=tmp_path)
    with pytest.raises(InputError, match="10 values, but the prompts have 6"):
        EVALUATORS.build({"type": "zero_shot", "query": "image"}, cfg=cfg).run(see_stretch, ctx)
    without_text = lambda points: see_stretch(points)._replace(text=None)  # noqa: E731
    with pytest.raises(InputError, match="no projection of the text query"):
        EVALUATORS.build({"type": "zero_shot"}, cfg=cfg).run(without_text, ctx)
    with pytest.raises(InputError, match="texts.*text, image, both"):
        EVALUATORS.build({"type": "zero_shot", "query": "texts"}, cfg=cfg)
    with pytest.raises(InputError, match="takes no option 'qery'.*query"):
        EVALUATORS.build({"type": "zero_shot", "qery": "text"}, cfg=cfg)


def test_class_embeddings_are_directions_and_centring_removes_what_is_shared():
    prompts = torch.randn(4, 5, 8) + 10
    plain, centered = class_embeddings(prompts, False), class_embeddings(prompts, True)
    for classes in (plain, centered):
        torch.testing.assert_close(classes.norm(dim=-1), torch.ones(4))
    assert (plain @ plain.T).min() > 0.8 and (centered @ centered.T).min() < 0.0


def test_svm(cfg, tmp_path):
    ctx = SimpleNamespace(folder=tmp_path)
    report = EVALUATORS.build({"type": "svm", "C": 10.0}, cfg=cfg).run(see_stretch, ctx)
    assert report["accuracy"] == 1.0 and report["num_train_objects"] == 45 and report["num_objects"] == 15
    few = EVALUATORS.build({"type": "svm", "shots": 2, "draws": 3}, cfg=cfg)
    assert [len(rows) for rows in few.rows] == [6, 6, 6]
    assert len({tuple(rows) for rows in few.rows}) == 3  # each draw picks others
    report = few.run(see_nothing, ctx)
    assert report["accuracy"] == pytest.approx(1 / 3) and report["accuracy_std"] == 0.0


def test_embeddings_are_written_as_documented(cfg, tmp_path):
    report = EVALUATORS.build({"type": "embeddings"}, cfg=cfg).run(see_stretch, SimpleNamespace(folder=tmp_path))
    assert report == {"num_objects": 60}
    with np.load(tmp_path / "embeddings.npz") as file:
        assert file["embeddings"].shape == (60, 16) and file["labels"].shape == (60,)
        assert (file["split"] == "test").sum() == 15 and file["class_names"].tolist() == ["ball", "plate", "rod"]


def test_every_object_is_encoded_once_in_order(cfg):
    dataset = EVALUATORS.build({"type": "svm"}, cfg=cfg).test
    embedding, labels, ids = encode_dataset(see_stretch, dataset, batch_size=4)
    assert ids == dataset.ids and torch.equal(labels, dataset.labels) and len(embedding.queries) == 15


def test_summed_prompts_let_long_features_count_more():
    prompts = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    equal, summed = class_embeddings(prompts, False), class_embeddings(prompts, False, is_summed=True)
    torch.testing.assert_close(equal, F.normalize(torch.tensor([[1.0, 1.0]]), dim=-1))
    torch.testing.assert_close(summed, F.normalize(torch.tensor([[3.0, 1.0]]), dim=-1))
