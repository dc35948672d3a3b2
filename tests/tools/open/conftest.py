"""ReCon++ in miniature on OpenShape's miniature objects, through main.py."""

import shutil

import pytest

import main
from pointrecon.tools.open.convert import convert
from tests import ROOT
from tests.datasets.open.layouts import MINI

TINY = (
    "epochs=2",
    "batch_size=4",
    "device=cpu",
    "keep=all",
    "data.num_points=48",
    "model.embed_dim=24",
    "model.depth=2",
    "model.num_heads=2",
    "model.num_groups=12",
    "model.group_size=4",
    "model.decoder_depth=1",
    "model.decoder_num_heads=2",
    "model.large_embedding=false",
    "optim.warmup_epochs=1",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with shards and OpenShape's lists and test sets, but not the files of its objects."""
    root = tmp_path_factory.mktemp("data")
    convert(MINI / "objaverse-processed", root / "openshape" / "shards", shard_size=4)
    shutil.copytree(MINI / "meta_data", root / "openshape" / "meta_data")
    return root


@pytest.fixture
def launch(root, tmp_path, monkeypatch):
    """launch(name of a config, *arguments) -> exit code and run folder."""

    def run(config, *arguments, name="a", sizes=TINY):
        paths = (f"data_root={root}", f"output_root={tmp_path}")
        config = str(ROOT / "cfgs" / f"{config}.yaml")
        monkeypatch.setattr("sys.argv", ["main.py", "--config", config, "--exp_name", name, *sizes, *paths, *arguments])
        code = main.main()
        folders = list(tmp_path.rglob(name))
        return code, folders[0] if folders else None

    return run
