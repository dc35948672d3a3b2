"""Writing shards: whole or not at all, and training from them sees what the data set and its cache say."""

import multiprocessing
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
import yaml

from pointrecon.datasets.shards.shards import Shards
from pointrecon.tools import shards
from pointrecon.tools.shards import make_shards, write_split
from pointrecon.tools.teachers.teachers import Teachers
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from tests.datasets import opened

CTX = SimpleNamespace(device=torch.device("cpu"), is_main=True, rank=0, world_size=1)


@pytest.fixture
def config(tmp_path, data_root):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        yaml.dump({"task": "pretrain", "device": "cpu", "data_root": str(data_root), "data": {"num_points": 48}})
    )
    return path


@pytest.fixture
def written(config, tmp_path):
    assert make_shards(load_config(config), tmp_path / "shards", ["pretrain", "test"], 10) == {
        "pretrain": 65,
        "test": 15,
    }
    return tmp_path


def test_samples_and_features_are_those_of_the_data_set(written, config, data_root):
    source, dataset = opened("SweetHome3D", data_root, "pretrain"), Shards(str(written))
    row_of = {key: row for row, key in enumerate(source.ids)}
    assert sorted(dataset.ids) == sorted(source.ids) != dataset.ids
    assert dataset.class_names == source.class_names and dataset.class_texts == source.class_texts
    for sample in dataset:
        same = source[row_of[sample["id"]]]
        assert torch.equal(sample["points"], same["points"])
        assert (sample["label"], sample["text"]) == (same["label"], same["text"])


@pytest.mark.parametrize("center", [False, True])
def test_targets_are_those_of_the_cache(written, config, data_root, center):
    options = [f"teachers.{kind}.center={center}".lower() for kind in ("image", "text")]
    cfg = load_config(config, options)
    source, dataset = opened("SweetHome3D", data_root, "pretrain"), Shards(str(written))
    batch = torch.utils.data.default_collate([dataset[row] for row in range(9)])
    cached = Teachers(cfg, source, CTX).draw(batch, torch.Generator().manual_seed(5))
    carried = Teachers(cfg, dataset, CTX)
    assert carried.dims == {"image": 10, "text": 6} and not carried.row_of
    for name, ours in carried.draw(batch, torch.Generator().manual_seed(5)).items():
        torch.testing.assert_close(ours, cached[name], rtol=1e-3, atol=1e-3 if center else 0)


def test_more_views_than_there_are(written, config):
    with pytest.raises(InputError, match="is 3, but the samples carry 2 image features"):
        Teachers(load_config(config, ["teachers.image.num_views=3"]), Shards(str(written)), CTX)


def test_other_programs_read_them(written):
    webdataset = pytest.importorskip("webdataset")
    paths = sorted(map(str, (written / "shards" / "pretrain").glob("*.tar")))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode())
    dataset = Shards(str(written))
    assert [sample["json"]["id"] for sample in samples] == dataset.ids
    assert np.array_equal(samples[11]["points.npy"], dataset[11]["points"].numpy())


class Killed(BaseException):
    """Stands for a signal."""


def test_an_interrupted_call_goes_on(written, config, monkeypatch):
    cfg, original, made = load_config(config), shards.write_shard, []

    def write_shard(path, keys, encode):
        if len(made) == 3:
            raise Killed
        made.append(path)
        original(path, keys, encode)

    monkeypatch.setattr(shards, "write_shard", write_shard)
    with pytest.raises(Killed):
        make_shards(cfg, written / "again", ["pretrain"], 10)
    folder = written / "again" / "pretrain"
    assert len(list(folder.glob("*.tar"))) == 3 and not (folder / "index.json").exists()
    monkeypatch.setattr(shards, "write_shard", original)
    before = {path: path.stat().st_mtime_ns for path in made}
    make_shards(cfg, written / "again", ["pretrain"], 10)
    assert {path: path.stat().st_mtime_ns for path in made} == before  # what was there stays
    for path in (written / "shards" / "pretrain").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_a_shard_that_is_cut_short_while_it_is_written_is_not_there(tmp_path):
    def encode(number):
        if number == 5:
            raise Killed
        return {"points.npy": shards.encode_npy(np.ones((4, 3), np.float32))}

    with pytest.raises(Killed):
        write_split(tmp_path, "x", encode, list("abcdefgh"), 4, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "x-000000.tar"]


def test_other_options_need_another_folder(written, config):
    for overrides, size in (([], 11), (["seed=1"], 10), (["teachers.text.num_prompts=1"], 10), (["select=last"], 9)):
        with pytest.raises(InputError, match="other data or options"):
            make_shards(load_config(config, overrides), written / "shards", ["pretrain"], size)
    (written / "shards" / "pretrain" / "plan.json").unlink()
    with pytest.raises(InputError, match="no plan.json"):
        make_shards(load_config(config), written / "shards", ["pretrain"], 10)
    with pytest.raises(InputError, match="--shard_size is 0"):
        make_shards(load_config(config), written / "new", ["pretrain"], 0)


def test_other_points_of_the_same_objects_need_another_folder(written, config, data_root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(data_root / "sweethome3d", other / "sweethome3d")
    with h5py.File(other / "sweethome3d" / "sweethome3d.h5", "a") as file:
        file["points"][:] = -file["points"][:]
    make_shards(load_config(config), written / "shards", ["test"], 10)
    with pytest.raises(InputError, match="other data or options"):
        make_shards(load_config(config, [f"data_root={other}"]), written / "shards", ["test"], 10)


def test_what_a_killed_call_leaves_is_no_shard(written, config):
    """Its temporary file looks like one; and shards that are not all there get no index."""
    folder = written / "shards" / "pretrain"
    before, count = Shards(str(written)).ids, len(list(folder.glob("*.tar")))
    left = folder / ".pretrain-000003.4242.tmp.tar"
    left.write_bytes((folder / "pretrain-000003.tar").read_bytes())
    (folder / "index.json").unlink()
    again = Shards(str(written))
    assert again.ids == before and again.class_names == ["ball", "plate", "rod"] and again.carried["image"]["dim"] == 10
    (folder / "index.json").unlink()
    last = sorted(folder.glob("pretrain-*.tar"))[-1]
    last.unlink()
    with pytest.raises(InputError, match="are not all there: 60 samples"):
        Shards(str(written))
    make_shards(load_config(config), written / "shards", ["pretrain"], 10)
    assert not left.exists() and len(list(folder.glob("*.tar"))) == count and Shards(str(written)).ids == before


def test_two_calls_at_once_both_end_right(config, tmp_path):
    context = multiprocessing.get_context("fork")
    arguments = (load_config(config), tmp_path / "shards", ["pretrain"], 5)
    calls = [context.Process(target=make_shards, args=arguments) for _ in range(3)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert [call.exitcode for call in calls] == [0, 0, 0]
    folder = tmp_path / "shards" / "pretrain"
    assert len(Shards(str(tmp_path))) == 65 and not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_test_samples_in_training_shards_are_refused(written):
    folder = written / "shards"
    shutil.copy(folder / "test" / "test-000000.tar", folder / "pretrain" / "pretrain-000099.tar")
    with pytest.raises(InputError, match="pretrain-000099.tar' is not in .*index.json"):
        Shards(str(written))
    for name in ("index.json", "plan.json"):
        (folder / "pretrain" / name).unlink()
    for split in ("pretrain", "test"):
        with pytest.raises(InputError, match="10 of the 15 samples in .*test' are in .*pretrain' as well, first .* 0"):
            Shards(str(written), split)


def test_pretraining_from_shards_resumes_in_the_middle_of_an_epoch(launch, written):
    options = [f"data_root={written}", "data.type=Shards", "epochs=2", "save_every=3", "num_workers=0"]
    code, whole = launch(*options, name="whole")
    assert code == 0
    from pointrecon.tools.training import runner

    original = runner.Runner.train_step

    def train_step(self, *arguments):
        if self.state.step == 5:
            raise Killed
        original(self, *arguments)

    runner.Runner.train_step = train_step
    try:
        with pytest.raises(Killed):
            launch(*options, name="killed")
    finally:
        runner.Runner.train_step = original
    code, killed = launch(*options, "--resume", name="killed")
    assert code == 0
    a, b = (torch.load(folder / "ckpt-last.pth", weights_only=True)["base_model"] for folder in (whole, killed))
    assert all(torch.equal(a[key], b[key]) for key in a)
