"""The tables in cfgs/ablation: each can be run as it stands."""

import pytest

from pointrecon.tools.sweeps.plan import check_plan
from pointrecon.tools.sweeps.read_table import read_table
from pointrecon.tools.sweeps.table import expand
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
