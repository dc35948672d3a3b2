"""Sizes of a network from the checkpoint that a run starts from."""

import torch

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.published.encoder import to_published
from pointrecon.tools.checkpoints.adopt import adopt_sizes
from pointrecon.tools.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from pointrecon.utils.config import load_config, resolve_config
from tests import ROOT

FULL = ROOT / "cfgs" / "full" / "finetune_scan_hardest.yaml"


def resolved(path, *overrides):
    found = resolve_config(FULL, [f"init='{path}'", *overrides])
    return found.cfg, found.origins


def write(path, **model):
    cfg = load_config(ROOT / "cfgs" / "pretrain" / "tiny.yaml")
    encoder = PointEncoder(192, 2, 3, patch_width=64)
    config = {**cfg, "model": {**cfg["model"], "depth": 2, "patch_width": 64, **model}}
    save_checkpoint({"base_model": PointClassifier(encoder, 15, "linear").state_dict(), "config": config}, path)


def test_what_no_config_gives_comes_from_the_checkpoint(tmp_path):
    write(tmp_path / "a.pth", queries={"cls": 1, "image": 1, "text": 1, "depth": 2}, num_groups=99)
    cfg, given = resolved(tmp_path / "a.pth")
    changed = adopt_sizes(cfg, given)
    model = cfg["model"]
    assert (model["embed_dim"], model["depth"], model["num_heads"], model["patch_width"]) == (192, 2, 3, 64)
    assert model["queries"]["depth"] == 2 and model["num_groups"] == 128  # how clouds are cut is the config's
    assert "model.embed_dim=192" in changed and len(changed) == 5


def test_what_somebody_gives_stays(tmp_path):
    write(tmp_path / "a.pth", queries={"depth": 2})
    cfg, given = resolved(tmp_path / "a.pth", "model.depth=5", "model.queries.depth=1")
    adopt_sizes(cfg, given)
    assert cfg["model"]["depth"] == 5 and cfg["model"]["queries"]["depth"] == 1 and cfg["model"]["embed_dim"] == 192


def test_a_published_file_shows_its_sizes(tmp_path):
    state = to_published(PointClassifier(PointEncoder(256, 2, 4), 15, "linear").state_dict())
    torch.save({"base_model": state}, tmp_path / "a.pth")
    cfg, given = resolved(tmp_path / "a.pth")
    adopt_sizes(cfg, given)
    assert (cfg["model"]["embed_dim"], cfg["model"]["depth"], cfg["model"]["num_heads"]) == (256, 2, 4)


def test_the_file_is_read_once(tmp_path, monkeypatch):
    write(tmp_path / "a.pth")
    adopt_sizes(*resolved(tmp_path / "a.pth"))
    monkeypatch.setattr("pointrecon.tools.checkpoints.checkpoint.read_weights", None)
    assert read_checkpoint(tmp_path / "a.pth")["base_model"]


def test_nothing_without_a_checkpoint():
    found = resolve_config(FULL, [])
    assert adopt_sizes(found.cfg, found.origins) == [] and found.cfg["model"]["embed_dim"] == 384


def test_a_small_checkpoint_in_another_config(launch, tmp_path):
    sizes = ("model.embed_dim=32", "model.depth=1", "model.num_heads=4", "model.patch_width=16")
    code, folder = launch("epochs=1", *sizes)
    start = tmp_path / "cfgs" / "fine.yaml"
    text = (tmp_path / "cfgs" / "tiny.yaml").read_text()
    leave = ("  embed_dim:", "  depth:", "  num_heads:")
    start.write_text("\n".join(line for line in text.splitlines() if not line.startswith(leave)))
    checkpoint = folder / "ckpt-last.pth"
    code, folder = launch("--config", start, "task=classify", "--ckpts", checkpoint, "epochs=1", name="fine")
    assert code == 0
    log = (tmp_path / "out" / "fine" / "cfgs" / "fine" / "log.txt").read_text()
    assert "model.embed_dim=32" in log and "model.depth=1" in log


def test_a_new_head_for_other_classes(launch, capsys):
    code, folder = launch("task=classify", "epochs=1", "classifier.num_classes=7")
    start = ("task=classify", "--ckpts", folder / "ckpt-last.pth")
    code, _ = launch(*start, "epochs=1", name="refused")
    assert code == 2 and "classifier.init_head=new" in capsys.readouterr().err
    code, folder = launch(*start, "epochs=1", "classifier.init_head=new", name="new")
    assert code == 0 and "not needed here: head (" in (folder / "log.txt").read_text()
    code, _ = launch(*start, "epochs=0", "classifier.init_head=new", name="tested")
    assert code == 2 and "must bring its head" in capsys.readouterr().err
