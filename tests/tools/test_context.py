"""Device, run folder and what is written into it."""

import json

import pytest
import torch

from pointrecon.tools.context import find_device, make_context, run_folder
from pointrecon.utils.config import load_config, to_plain
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import rng_state, set_rng_state
from tests import ROOT

CONFIG = "cfgs/quickstart/pretrain.yaml"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    state = rng_state()
    yield
    torch.use_deterministic_algorithms(False)
    set_rng_state(state)


@pytest.fixture
def make(tmp_path):
    def build(*overrides, **options):
        values = ["device=cpu", f"output_root='{tmp_path}'", *overrides]
        return make_context(load_config(ROOT / CONFIG, values), CONFIG, **options)

    return build


def test_the_folder_is_named_by_config_and_experiment(tmp_path):
    assert run_folder(tmp_path, CONFIG, "first") == tmp_path / "pretrain" / "quickstart" / "first"


@pytest.mark.parametrize("name", ["", "..", "a/b", "/a"])
def test_an_experiment_is_a_plain_name(name):
    with pytest.raises(InputError, match="--exp_name is"):
        run_folder("experiments", CONFIG, name)


def test_nothing_is_written_before_the_folder_is_opened(make, tmp_path):
    with make() as ctx:
        ctx.logger.info("hello")
    assert list(tmp_path.iterdir()) == []


def test_a_run_leaves_its_config_its_surroundings_and_its_log(make):
    with make("optim.lr=1e-3", "teachers.image=null", "resume=true", exp_name="first") as ctx:
        ctx.logger.info("before")
        ctx.open_folder()
        ctx.open_folder()
        ctx.logger.info("after")
    again = load_config(ctx.folder / "config.yaml")
    assert to_plain(again) == to_plain({**ctx.cfg, "resume": False})
    environment = json.loads((ctx.folder / "env.json").read_text())
    assert environment["device"] == "cpu" and environment["packages"]["torch"] == torch.__version__.split("+")[0]
    log = (ctx.folder / "log.txt").read_text()
    assert log.count("before") == log.count("after") == 1


@pytest.mark.parametrize("name", ["ckpt-last.pth", "result.json"])
def test_an_earlier_run_is_not_overwritten_by_accident(make, name):
    folder = make().folder
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("started, and stopped at once")
    make()
    (folder / name).write_text("x")
    with pytest.raises(InputError, match=f"{name}.*--exp_name.*--resume.*--overwrite"):
        make()
    make("resume=true").open_folder()
    assert (folder / name).exists()


def test_overwrite_removes_what_the_run_wrote_and_nothing_else(make):
    folder = make().folder
    (folder / "tb").mkdir(parents=True)
    for name in ("ckpt-last.pth", "ckpt-epoch-3.pth", "result.json", "notes.txt", "tb/events"):
        (folder / name).write_text("x")
    with make(overwrite=True) as ctx:
        assert (folder / "ckpt-last.pth").exists()
        ctx.open_folder()
    assert {item.name for item in folder.iterdir()} == {"notes.txt", "config.yaml", "env.json", "log.txt"}


def test_overwrite_never_removes_the_weights_it_starts_from(make):
    folder = make().folder
    folder.mkdir(parents=True)
    (folder / "ckpt-last.pth").write_text("x")
    with pytest.raises(InputError, match="which the run starts from"):
        make(f"init={folder}/ckpt-last.pth", overwrite=True)


@pytest.mark.parametrize(
    "override, message",
    [
        ("device=cuda:x", "must be one of"),
        ("device=cpu:0", "must be one of"),
    ],
)
def test_values_are_checked_before_anything_is_made(make, tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        make(override)
    assert list(tmp_path.iterdir()) == []


def test_the_batch_is_shared_evenly(make, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="give a multiple of 3"):
        make()


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(InputError, match=f"device is '{name}'.*device=cpu"):
            find_device(name)
    assert find_device("auto") == torch.device("cpu")


def test_a_gpu_is_chosen_by_number_or_by_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto") == find_device("cuda") == torch.device("cuda", 0)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError, match="GPU 2 is asked for, but torch sees 2"):
        find_device("cuda:2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_device("auto") == torch.device("cuda", 1)
    with pytest.raises(InputError, match="2 processes"):
        find_device("cuda:0")


def test_the_seed_is_set(make):
    make("seed=3")
    first = torch.rand(1)
    make("seed=3")
    assert torch.equal(first, torch.rand(1))
