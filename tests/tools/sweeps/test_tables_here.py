"""The tables in cfgs/ablation: each can be run as it stands."""

import pytest
import torch

from pointrecon.tools.build import build_classifier, build_pretrainer
from pointrecon.tools.sweeps.plan import check_plan
from pointrecon.tools.sweeps.read_table import read_table
from pointrecon.tools.sweeps.table import expand
from pointrecon.utils.config import flatten, load_config
from tests import ROOT

FOLDER = ROOT / "cfgs" / "ablation"
TABLES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_run_of_a_table_has_a_config(path, tmp_path):
    cells = expand(read_table(path, tmp_path))
    # One pretraining and one fold have every config and override; the others differ in numbers.
    check_plan([cell.run for cell in cells if not cell.pretraining and not cell.fold])
    assert {cell.row for cell in cells} == {row.name for row in read_table(path).rows}
    assert f"`{path.name}`" in (FOLDER / "README.md").read_text()


def test_the_core_table_says_what_differs(tmp_path):
    cells = expand(read_table(FOLDER / "core.yaml", tmp_path))
    pretrain = {cell.row: cell.run.configure() for cell in cells if not cell.metrics}
    assert len(pretrain) == 7 and {cfg.data.type for cfg in pretrain.values()} == {"DebShapes"}
    assert pretrain["recon"].model.stop_grad and not pretrain["recon_no_stop"].model.stop_grad
    assert pretrain["reconstruct"].teachers == {"image": None, "text": None}
    assert pretrain["contrast"].loss.chamfer.weight == 0 and pretrain["plain_block"].model.block == "PreNormBlock"
    assert pretrain["text"].teachers.image is None and pretrain["image"].teachers.text is None


def pretrainings(name):
    """Row -> the config of its first pretraining, and of what is measured on it."""
    cells = [cell for cell in expand(read_table(FOLDER / f"{name}.yaml")) if not cell.pretraining and not cell.fold]
    found = {cell.row: (cell.run.configure(), []) for cell in cells if not cell.metrics}
    for cell in cells:
        if cell.metrics and cell.row in found:
            found[cell.row][1].append(cell.run)
    return found


@pytest.mark.parametrize("name", ["core", "rows", "switches"])
def test_what_is_measured_has_the_network_that_was_pretrained(name):
    """Options of the network that a row changes are `shared`, where they change its weights."""
    compared = set()
    for cfg, runs in pretrainings(name).values():
        # Without the checkpoint, which is not there yet and whose config would be compared with this one.
        tuned = next(run for run in runs if "finetune" in run.name)
        arguments = [word for word in tuned.arguments if word != "--ckpts" and not word.endswith("ckpt-last.pth")]
        overrides = [word for word in arguments if "=" in word] + ["start=any"]
        other = load_config(tuned.config, overrides)
        key = repr((cfg.model, other.model))
        if key in compared:
            continue
        compared.add(key)
        with torch.device("meta"):
            one = build_pretrainer(cfg, {teacher: 8 for teacher, section in cfg.teachers.items() if section}).encoder
            encoder = build_classifier(other, 20).encoder
        assert {k: x.shape for k, x in one.state_dict().items()} == {
            k: x.shape for k, x in encoder.state_dict().items()
        }


def test_tables_that_share_runs_mean_the_same_by_a_name():
    known = {}
    for name in ("core", "rows", "switches"):
        table = read_table(FOLDER / f"{name}.yaml")
        assert str(table.out) == "experiments/core"
        for cell in expand(table):
            if not cell.pretraining and not cell.fold:
                assert known.setdefault(cell.run.name, cell.run) == cell.run, f"{name}: {cell.run.name}"
    assert len({read_table(FOLDER / f"{name}.yaml").report for name in ("core", "rows", "switches")}) == 3


def test_the_rows_say_what_differs():
    found = {row: cfg for row, (cfg, _) in pretrainings("rows").items()}
    mae = found["point_mae"]
    assert mae.model.queries == {"cls": 1, "image": 0, "text": 0} and not any(mae.teachers.values())
    assert found["one_stream"].model.block == "SharedBlock" and not found["one_stream"].model.stop_grad
    assert found["two_towers"].model.type == "TwoTower"
    for row, control in (("random_teachers", "random"), ("shuffled", "shuffled")):
        for name, stop in ((row, True), (f"{row}_no_stop", False)):
            assert {section.control for section in found[name].teachers.values()} == {control}
            assert found[name].model.stop_grad is stop
    assert found["pairs"].loss.contrast.positives == "shape" and not any(found["pairs"].teachers.values())
    assert all(found["cross_and_pairs"].teachers.values()) and found["cross_and_pairs"].loss.contrast.weight == 1
    assert found["bundled_class_wise"].loss.contrast.positives == "class"
    assert {found[row].data.type for row in found if row.startswith("bundled")} == {"SweetHome3D"}


def test_the_switches_say_what_differs():
    found = {row: flatten(cfg) for row, (cfg, _) in pretrainings("switches").items()}
    plain = found["recon_no_stop"]
    changed = {row: {key for key in flat if flat[key] != plain.get(key)} for row, flat in found.items()}
    assert [row for row, keys in changed.items() if not keys] == ["recon_no_stop"]  # each switches something
    steps = {row: round(flat["epochs"] * flat.get("data.options.ratio", 1.0), 6) for row, flat in found.items()}
    assert {steps[row] for row in found if row.startswith("share")} == {plain["epochs"]}
    warmup = {row: found[row]["optim.warmup_epochs"] / found[row]["epochs"] for row in found if row.startswith("share")}
    assert set(warmup.values()) == {plain["optim.warmup_epochs"] / plain["epochs"]}
    assert {found[row].get("model.stop_share") for row in ("stop_25", "stop_50", "stop_75")} == {0.25, 0.5, 0.75}
