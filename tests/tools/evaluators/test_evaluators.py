"""Evaluators on an encoder that knows the answer, and on one that does not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pointrecon.tools.evaluators import EVALUATORS, encoder, suite
from pointrecon.tools.evaluators.encoder import Embedding, SplitEncoder, SplitStore
from pointrecon.tools.evaluators.knn_probe import vote
from pointrecon.tools.evaluators.suite import EvaluatorSuite, own_data
from pointrecon.tools.evaluators.zero_shot import class_embeddings
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import distributed


@pytest.fixture
def cfg(data_root, tmp_path):
    (tmp_path / "plain.yaml").write_text("task: evaluate\n")
    return load_config(tmp_path / "plain.yaml", [f"data_root={data_root}", "batch_size=8", "data.num_points=48"])


@pytest.fixture
def make(cfg):
    """make(type, name=None, **options) builds an evaluator."""

    def make(kind, name=None, **options):
        return EVALUATORS.build({"type": kind, **options}, cfg=cfg, name=name or kind, store=SplitStore())

    return make


def see(encode):
    return SplitEncoder(encode, device=torch.device("cpu"), batch_size=8)


def see_stretch(points):
    """An encoder that sees how far a cloud reaches along each axis: enough to tell the miniature's classes."""
    reach = points.abs().amax(dim=1)  # (B, 3)
    is_plate, is_rod = reach[:, 1] < 0.3, reach[:, 0] < 0.2
    label = torch.where(is_plate, 1, torch.where(is_rod, 2, 0))
    feature = F.pad(reach, (0, 5)).repeat(1, 2)
    return Embedding(feature, {"image": F.one_hot(label, 10).float(), "text": F.one_hot(label, 6).float()})


def see_nothing(points):
    rows = len(points)
    return Embedding(torch.ones(rows, 16), {"image": torch.ones(rows, 10), "text": torch.ones(rows, 6)})


def test_zero_shot(make, tmp_path):
    evaluator = make("zero_shot", "by_text")
    report = evaluator.run(see(see_stretch), SimpleNamespace())
    assert report["accuracy"] == 1.0 and report["num_objects"] == 15 and report["num_classes"] == 3
    assert report["split"] == "test" and report["query"] == "text"
    evaluator.save(tmp_path)
    assert (tmp_path / "predictions-by_text.npz").is_file()
    assert evaluator.run(see(see_nothing), SimpleNamespace())["accuracy"] == pytest.approx(1 / 3)


def test_zero_shot_refuses_what_it_cannot_compare(make):
    def check(encode, **options):
        evaluator = make("zero_shot", **options)
        evaluator.check(see(encode).embed_first(evaluator.dataset, evaluator.data))

    check(see_stretch)
    with pytest.raises(InputError, match="10 values, but the prompts have 6"):
        check(see_stretch, query="image")
    with pytest.raises(InputError, match="10 and 6 values, which cannot be added"):
        check(see_stretch, query="both")
    with pytest.raises(InputError, match="no projection of the text query"):
        check(lambda points: see_stretch(points)._replace(projected={}))
    with pytest.raises(InputError, match="texts.*text, image, both"):
        make("zero_shot", query="texts")
    with pytest.raises(InputError, match="takes no option 'qery'.*query"):
        make("zero_shot", qery="text")


def test_class_embeddings_are_directions_and_centring_removes_what_is_shared():
    prompts = torch.randn(4, 5, 8) + 10
    plain, centered = class_embeddings(prompts, False), class_embeddings(prompts, True)
    for classes in (plain, centered):
        torch.testing.assert_close(classes.norm(dim=-1), torch.ones(4))
    assert (plain @ plain.T).min() > 0.8 and (centered @ centered.T).min() < 0.0


def test_svm(make):
    report = make("svm", C=10.0).run(see(see_stretch), SimpleNamespace())
    assert report["accuracy"] == 1.0 and report["num_train_objects"] == 45 and report["num_objects"] == 15
    few = make("svm", shots=2, draws=3)
    assert [len(rows) for rows in few.rows] == [6, 6, 6]
    assert len({tuple(rows) for rows in few.rows}) == 3  # each draw picks others
    report = few.run(see(see_nothing), SimpleNamespace())
    assert report["accuracy"] == pytest.approx(1 / 3) and report["accuracy_std"] == 0.0


def test_knn(make):
    report = make("knn", k=3).run(see(see_stretch), SimpleNamespace())
    assert report["accuracy"] == 1.0 and report["num_train_objects"] == 45 and report["num_objects"] == 15
    few = make("knn", shots=2, draws=3)  # 20 neighbors are asked for, 6 are there
    assert [rows.tolist() for rows in few.rows] == [rows.tolist() for rows in make("svm", shots=2, draws=3).rows]
    assert few.run(see(see_stretch), SimpleNamespace())["num_train_objects"] == 6
    report = few.run(see(see_nothing), SimpleNamespace())
    assert report["accuracy"] == pytest.approx(1 / 3) and report["accuracy_std"] == 0.0
    with pytest.raises(InputError, match="evaluators.knn.k is 0, but must be a whole number of at least 1"):
        make("knn", k=0)
    with pytest.raises(InputError, match="evaluators.knn.temperature is 0, but must be a number above 0"):
        make("knn", temperature=0)


def test_votes_are_those_of_a_plain_count():
    draw = np.random.RandomState(0)
    x, x_test, y = draw.randn(40, 6).astype("f"), draw.randn(30, 6).astype("f"), draw.randint(0, 4, 40)
    center = x.mean(axis=0, dtype=np.float64)
    known, asked = ((part - center) / np.linalg.norm(part - center, axis=1)[:, None] for part in (x, x_test))
    wanted = []
    for row in asked @ known.T:
        votes = {label: 0.0 for label in range(4)}
        for near in np.argsort(-row)[:7]:
            votes[y[near]] += np.exp(row[near] / 0.3)
        wanted.append(max(votes, key=votes.get))
    assert vote(x, y, x_test, k=7, temperature=0.3).tolist() == wanted
    nearest = y[(asked @ known.T).argmax(axis=1)]
    assert vote(x, y, x_test, k=40, temperature=1e-6).tolist() == nearest.tolist()


def test_few_shots_are_those_that_training_draws(make, cfg):
    few = make("svm", shots=2, draws=2)
    for draw, rows in enumerate(few.rows):
        drawn = few.store.get(cfg, "train", shots=2, seed=cfg["seed"] + draw)
        assert [few.train.ids[row] for row in rows] == list(drawn.ids)


def test_embeddings_are_written_as_documented(make, tmp_path):
    evaluator = make("embeddings")
    assert evaluator.run(see(see_stretch), SimpleNamespace()) == {"num_objects": 60}
    evaluator.save(tmp_path)
    with np.load(tmp_path / "embeddings.npz") as file:
        assert file["embeddings"].shape == (60, 16) and file["labels"].shape == (60,)
        assert (file["split"] == "test").sum() == 15 and file["class_names"].tolist() == ["ball", "plate", "rod"]


def test_every_object_is_encoded_once_in_order(make, cfg):
    dataset = make("svm").test
    embedding, labels, ids = see(see_stretch).embed(dataset, cfg["data"])
    assert ids == dataset.ids and torch.equal(labels, dataset.labels) and len(embedding.feature) == 15


BAD = {
    "no section": ({"svm": 3}, "evaluators.svm is 3, but must be a section"),
    "a negative C": ({"svm": {"C": -1}}, "evaluators.svm.C is -1, but must be a number above 0"),
    "another name": ({"svm": {"name": "x"}}, "evaluators.svm takes no option 'name'; its name is 'svm'"),
    "a store": ({"svm": {"store": None}}, "evaluators.svm takes no option 'store'"),
    "a config": ({"svm": {"cfg": {}}}, "evaluators.svm takes no option 'cfg'"),
    "a text as C": ({"svm": {"C": "a"}}, "evaluators.svm.C is 'a'"),
    "an infinite C": ({"svm": {"C": float("inf")}}, "evaluators.svm.C is inf"),
    "half a draw": ({"few": {"type": "svm", "draws": 0.5}}, "evaluators.few.draws is 0.5, but must be a whole number"),
    "no shots": ({"svm": {"shots": 0}}, "evaluators.svm.shots is 0"),
    "too many shots": ({"svm": {"shots": 100}}, "only 15 training objects"),
    "an unknown split": ({"svm": {"split": "tst"}}, "evaluators.svm.split is 'tst'.*did you mean 'test'"),
    "a negative ratio": ({"zero_shot": {"ratio": -1}}, "evaluators.zero_shot.ratio"),
    "an unknown query": ({"zero_shot": {"query": "txt"}}, "evaluators.zero_shot.query is 'txt'"),
    "splits as a text": ({"embeddings": {"splits": "test"}}, "evaluators.embeddings.splits is 'test'"),
    "an unknown part": ({"embeddings": {"splits": ["tset"]}}, "evaluators.embeddings.splits is 'tset'"),
    "data as a text": ({"svm": {"data": "ModelNet40"}}, "evaluators.svm.data is 'ModelNet40', but must be a section"),
    "an unknown key of data": ({"svm": {"data": {"tpe": "A"}}}, "unknown key 'data.tpe' in evaluators.svm"),
    "data of another type": ({"svm": {"data": {"num_points": "many"}}}, "data.num_points.*evaluators.svm"),
    "an unknown data set": ({"svm": {"data": {"type": "ModelNet41"}}}, "ModelNet40"),
}


@pytest.mark.parametrize("evaluators, message", BAD.values(), ids=BAD.keys())
def test_options_are_checked_before_training(cfg, evaluators, message):
    cfg["evaluators"] = evaluators
    with pytest.raises(InputError, match=message):
        EvaluatorSuite(cfg, SimpleNamespace())


def test_an_evaluator_has_data_of_its_own(cfg):
    cfg["data"].update(fold=1, options={"a": 1}, normalize=False)
    assert own_data(cfg, "svm", None) == cfg["data"]
    assert own_data(cfg, "svm", {"fold": 2, "num_points": 40}) == {**cfg["data"], "fold": 2, "num_points": 40}
    other = own_data(cfg, "svm", {"type": "ModelNet40", "augment": {"shift": 1}})
    assert other["type"] == "ModelNet40" and other["normalize"] is False and other["augment"]["shift"] == 1.0
    assert other["fold"] is None and other["options"] == {} and cfg["data"]["fold"] == 1


def count_calls(monkeypatch, module, name):
    calls, original = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **kwargs: calls.append(args) or original(*args, **kwargs))
    return calls


class Network(torch.nn.Module):
    """Has what evaluators need; its batch-norm would move if it were in training mode, and it draws."""

    def __init__(self):
        super().__init__()
        self.norm, self.frozen = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3).eval()

    @property
    def encoder(self):
        return self

    def embed(self, points):
        torch.rand(3)
        reach = self.frozen(self.norm(points.abs().amax(dim=1)))
        return reach.unsqueeze(1).expand(-1, 3, -1), reach.unsqueeze(1)


EVALUATORS_OF_QUICKSTART = {"svm": {}, "few": {"type": "svm", "shots": 2, "draws": 5}, "embeddings": None}


def test_a_split_is_read_and_encoded_once(cfg, monkeypatch, tmp_path):
    built = count_calls(monkeypatch, encoder, "build_dataset")
    cfg["evaluators"] = EVALUATORS_OF_QUICKSTART
    ctx = SimpleNamespace(device=torch.device("cpu"), is_main=True, folder=tmp_path)
    all_of_them = EvaluatorSuite(cfg, ctx)
    all_of_them.set_model(Network())
    encoded = count_calls(monkeypatch, all_of_them.encoder, "_embed")
    first = all_of_them.finish()
    assert len(built) == 2 and len(encoded) == 2
    assert all_of_them.finish() == first and len(encoded) == 4  # the weights may have moved


def test_evaluators_leave_no_trace(cfg, tmp_path):
    cfg["evaluators"] = {"svm": {}}
    network = Network().train()
    network.frozen.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    all_of_them = EvaluatorSuite(cfg, SimpleNamespace(device=torch.device("cpu"), is_main=True, folder=tmp_path))
    all_of_them.set_model(network)
    assert torch.equal(torch.get_rng_state(), state)
    with suite.undisturbed():
        all_of_them.probe(["svm"])
    assert torch.equal(torch.get_rng_state(), state)
    assert network.norm.training and not network.frozen.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("world_size", [2, 3, 9])
def test_processes_share_the_batches_and_find_the_same(make, cfg, monkeypatch, world_size):
    dataset, seen = make("svm").train, []  # 45 objects, 6 batches
    whole = see(see_stretch).embed(dataset, cfg["data"])
    parts = []
    monkeypatch.setattr(distributed, "world_size", lambda: world_size)
    monkeypatch.setattr(distributed, "gather_in_order", lambda mine: parts.append(mine) or mine or [whole])
    for rank in range(world_size):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        see(lambda points: seen.append(points) or see_stretch(points)).embed(dataset, cfg["data"])
    assert sum(len(points) for points in seen) == 45 and max(len(mine) for mine in parts) == -(-6 // world_size)
    monkeypatch.undo()
    monkeypatch.setattr(distributed, "all_gather_objects", lambda _: parts)
    joined = encoder.join(distributed.gather_in_order(parts[0]))
    assert joined.ids == whole.ids and torch.equal(joined.embedding.feature, whole.embedding.feature)
    assert torch.equal(joined.labels, whole.labels)


def test_summed_prompts_let_long_features_count_more():
    prompts = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    equal, summed = class_embeddings(prompts, False), class_embeddings(prompts, False, is_summed=True)
    torch.testing.assert_close(equal, F.normalize(torch.tensor([[1.0, 1.0]]), dim=-1))
    torch.testing.assert_close(summed, F.normalize(torch.tensor([[3.0, 1.0]]), dim=-1))
