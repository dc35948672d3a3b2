"""Names of known shapes that an image query finds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pointrecon.datasets.teacher_cache.writer import ImageFeatures, TextFeatures, write_features
from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.encoder import Embedding, SplitEncoder, SplitStore
from pointrecon.tools.open.name_bank import NameBank
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError

CLASSES = ["ball", "plate", "rod"]


def write_bank(path, ids, names, image, text):
    """A cache in which each shape has one view and each name one prompt."""
    features = np.asarray([text[name] for name in sorted(set(names))], np.float32)[:, None]
    classes = np.eye(3, 6, dtype=np.float32)[:, None]
    write_features(
        path,
        ImageFeatures(ids, [np.asarray(image, np.float32)[:, None]]),
        TextFeatures(ids, names, features, ["{}."], CLASSES, classes, ["{}."]),
    )
    return path


@pytest.fixture
def bank(tmp_path):
    """Three pictures along the axes, with the names of the three classes, in the miniature's widths."""
    text = dict(zip(CLASSES, np.eye(3, 6), strict=True))
    return write_bank(tmp_path / "bank.h5", ["a", "b", "c"], CLASSES, np.eye(3, 10), text)


@pytest.fixture
def make(data_root, tmp_path):
    def make(**options):
        (tmp_path / "plain.yaml").write_text("task: evaluate\n")
        given = [f"data_root={data_root}", "batch_size=8", "data.num_points=48"]
        cfg = load_config(tmp_path / "plain.yaml", given)
        return EVALUATORS.build({"type": "zero_shot", **options}, cfg=cfg, name="zero_shot", store=SplitStore())

    return make


def see_pictures_alone(points):
    """An encoder whose image query knows the miniature's classes and whose text query says nothing."""
    reach = points.abs().amax(dim=1)
    label = torch.where(reach[:, 1] < 0.3, 1, torch.where(reach[:, 0] < 0.2, 2, 0))
    return Embedding(reach, {"image": F.one_hot(label, 10).float(), "text": torch.ones(len(points), 6)})


def run(evaluator, encode=see_pictures_alone):
    encoder = SplitEncoder(encode, device=torch.device("cpu"), batch_size=8)
    evaluator.check(encoder.embed_first(evaluator.dataset, evaluator.data))
    return evaluator.run(encoder, SimpleNamespace())


def test_names_are_weighted_by_the_softmax_of_the_cosine(bank):
    names = NameBank(bank, image_centered=False, text_centered=False, temperature=0.5).find(torch.eye(10)[:1] * 7)
    weights = np.exp(np.array([1.0, 0.0, 0.0]) / 0.5)
    np.testing.assert_allclose(names[0, :3], weights / np.linalg.norm(weights), atol=1e-3)
    centered = NameBank(bank, image_centered=True, text_centered=True, temperature=0.5)
    torch.testing.assert_close(centered.names.sum(dim=0), torch.zeros(6), atol=1e-3, rtol=0)


def test_a_bank_tells_classes_that_the_text_query_does_not_know(make, bank):
    assert run(make())["accuracy"] == pytest.approx(1 / 3)
    report = run(make(bank=str(bank)))
    assert report["accuracy"] == 1.0 and report["bank"] == f"{bank} (3 shapes)"
    assert "bank" not in run(make())


def test_the_ratio_weighs_it_against_the_query(make, bank):
    """The text query is wrong, the image query right: the larger one wins."""

    def see(points):
        image = see_pictures_alone(points).projected["image"]
        return Embedding(image, {"image": image, "text": image[:, :3].roll(1, dims=1) @ torch.eye(3, 6)})

    assert run(make(bank=str(bank), bank_ratio=0.5), see)["accuracy"] == 0.0
    assert run(make(bank=str(bank), bank_ratio=2.0), see)["accuracy"] == 1.0


def test_objects_that_are_measured_may_not_be_in_it(make, data_root):
    with pytest.raises(InputError, match=r"holds 15 of the 15 objects that are measured.*their own names"):
        make(bank=str(data_root / "sweethome3d" / "teachers.h5"))


def test_mistakes(make, bank, tmp_path):
    with pytest.raises(InputError, match="bank of names .*nowhere.h5' does not exist"):
        make(bank=str(tmp_path / "nowhere.h5"))
    for option in ("bank", "classes"):
        with pytest.raises(InputError, match=f"evaluators.zero_shot.{option} is 3, but must be the path of a file"):
            make(**{option: 3})
    with pytest.raises(InputError, match="evaluators.zero_shot.bank_temperature is 0, but must be a number above 0"):
        make(bank=str(bank), bank_temperature=0)
    with pytest.raises(InputError, match="no projection of the image query"):
        run(make(bank=str(bank)), lambda points: Embedding(points[:, 0], {"text": torch.ones(len(points), 6)}))
    with pytest.raises(InputError, match="projected to 4 values, but the image features of .*bank.h5' have 10"):
        ones = {"text": torch.ones(8, 6), "image": torch.ones(8, 4)}
        run(
            make(bank=str(bank)),
            lambda points: Embedding(points[:, 0], {key: x[: len(points)] for key, x in ones.items()}),
        )
    text = {name: np.ones(5) for name in CLASSES}
    other = write_bank(tmp_path / "other.h5", ["a", "b", "c"], CLASSES, np.eye(3, 10), text)
    with pytest.raises(InputError, match="have 5 values, but the prompts of the classes 6"):
        run(make(bank=str(other)))
