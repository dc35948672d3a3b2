"""Tables of runs: which runs there are, and what is refused."""

import re

import pytest

from pointrecon.tools.sweeps.plan import check_plan
from pointrecon.tools.sweeps.read_table import read_table
from pointrecon.tools.sweeps.table import collect, compare_networks, expand
from pointrecon.utils.errors import InputError
from tests import ROOT
from tests.tools.sweeps.conftest import TABLE


def test_rows_pretrainings_tasks_folds_and_seeds_are_multiplied(table, tmp_path):
    cells = expand(table)
    check_plan([cell.run for cell in cells])
    pretrainings = [cell for cell in cells if not cell.metrics]
    assert [cell.run.name for cell in pretrainings] == [
        "recon-pretrain-p0", "alone-pretrain-p0", "recon-pretrain-p1", "alone-pretrain-p1"
    ]  # fmt: skip
    count = {row: sum(cell.row == row and bool(cell.metrics) for cell in cells) for row in ("recon", "alone")}
    assert count == {"recon": 2 * (2 + 2), "alone": 2 * 2}
    (cell,) = [cell for cell in cells if cell.run.name == "recon-tuned-p1-seed1"]
    assert (cell.pretraining, cell.fold, cell.seed) == (1, None, 1001) and cell.run.after == ("recon-pretrain-p1",)
    cfg = cell.run.configure()
    assert cfg.seed == 1001 and cfg.init == str(tmp_path / "out/pretrain/cfgs/recon-pretrain-p1/ckpt-last.pth")
    assert cfg.log_every == 1 and cell.run.folder() == tmp_path / "out/finetune/cfgs/recon-tuned-p1-seed1"


def test_overrides_reach_what_they_are_for(table):
    by_name = {cell.run.name: cell for cell in expand(table)}
    assert by_name["alone-pretrain-p0"].run.configure().teachers.image is None
    assert by_name["alone-svm-p0-fold1-seed0"].run.configure().teachers.image is not None
    assert by_name["alone-svm-p0-fold1-seed0"].run.configure().data.fold == 1


def test_the_more_special_wins_and_the_command_line_over_all(write_table):
    text = TABLE.replace("name: tuned,", "name: tuned, overrides: [log_every=2],")
    by_name = {cell.run.name: cell.run.configure() for cell in expand(read_table(write_table(text)))}
    assert by_name["recon-pretrain-p0"].log_every == 1 and by_name["recon-tuned-p0-seed0"].log_every == 2
    last = read_table(write_table(text), overrides=["log_every=3"])
    assert {cell.run.configure().log_every for cell in expand(last)} == {3}


def test_rows_without_pretraining_have_as_many_seeds(table):
    scratch = [cell for cell in expand(table) if cell.row == "scratch"]
    recon = [cell for cell in expand(table) if cell.row == "recon" and cell.run.name.startswith("recon-tuned")]
    assert [(cell.fold, cell.seed) for cell in scratch] == [(cell.fold, cell.seed) for cell in recon]
    assert not any(cell.run.after or cell.run.configure().init for cell in scratch)
    assert {cell.run.name.split("-")[1] for cell in expand(table) if cell.row == "random"} == {"svm"}


def test_a_pretraining_for_each_fold(write_table):
    text = TABLE.replace("seeds: [0, 1]}", "seeds: [0], per_fold: true}", 1)
    text = text.replace("name: tuned,", "name: tuned, folds: [1],")
    by_name = {cell.run.name: cell.run for cell in expand(read_table(write_table(text)))}
    assert by_name["recon-pretrain-p0-fold1"].configure().data.fold == 1
    assert by_name["recon-svm-p0-fold1-seed0"].after == ("recon-pretrain-p0-fold1",)


def test_some_rows_only(table):
    assert {cell.row for cell in expand(table, ["scratch", "recon"])} == {"scratch", "recon"}
    with pytest.raises(InputError, match="did you mean 'scratch'"):
        expand(table, ["skratch"])


def test_what_is_not_done_is_not_counted(table):
    records, costs, missing = collect(expand(table))
    assert not records and not costs and missing == {"recon": 10, "alone": 6, "scratch": 4, "random": 4}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows:", "row:", "unknown key 'row'; did you mean 'rows'"),
        ("{name: recon}", "{name: recon, override: [a=1]}", "row.*unknown key 'override'.*'overrides'"),
        ("{name: recon}", "{name: alone}", "'alone' twice"),
        ("{name: recon}", "{name: a/b}", "names have letters"),
        ("seeds: [0, 1]}", "seeds: [0, 0]}", "different whole numbers"),
        ("seeds: [0, 1]}", "seeds: two}", "different whole numbers"),
        ("config: svm.yaml", "config: svn.yaml", "svn.yaml' does not exist"),
        ("skip: [tuned]", "skip: [tune]", "'tune', but downstream has: svm, tuned"),
        ("baseline: scratch}", "baseline: none}", "'none'"),
        ("baseline: scratch}", "baseline: scratch, checkpoint: x}", "both baseline and checkpoint"),
        ("baseline: scratch}", "baseline: scratch, overrides: [a=1]}", "is not pretrained"),
        ("[log_every=1]", "log_every=1", "list of texts key=value"),
        ("pretrain:", "# pretrain:", "has no pretrain"),
        ("rows:", "reference: nobody\nrows:", "reference is 'nobody'"),
        ("rows:", "]", "not valid YAML"),
        ("rows:", f"# {'x' * 300_000}\nrows:", "bytes, but tables have 262,144 at most"),
        ("{name: recon}", "3", "a row is 3, but must have the keys name"),
        ("{name: recon}", "{name: recon, skip: tuned}", "skip is 'tuned', but must be a list of names"),
        ("{name: recon}", "{name: recon, pretrain: {per_fold: 1}}", "pretrain.per_fold is 1, but must be true or"),
        ("name: tuned,", "name: tuned, metrics: {a: 3},", "metrics must be a mapping"),
        ("baselines: {scratch: finetune.yaml}", "baselines: [scratch]", "baselines must be a mapping"),
        ("config: svm.yaml", "config: 3", "lacks a config; give the path of one"),
    ],
)
def test_a_mistake_in_a_table_is_named(write_table, old, new, message):
    assert old in TABLE
    with pytest.raises(InputError, match=message) as error:
        read_table(write_table(TABLE.replace(old, new, 1)))
    assert "table.yaml" in str(error.value) or "does not exist" in str(error.value)


@pytest.mark.parametrize("text", ["- 1", "rows: []", "rows: 3", ""])
def test_a_table_without_rows(write_table, text):
    with pytest.raises(InputError, match="the table is .*but must have the keys|rows must be a list with one entry"):
        read_table(write_table(text))


def test_a_wrong_override_is_found_before_anything_runs(write_table):
    table = read_table(write_table(TABLE.replace("log_every=1", "log_evry=1")))
    with pytest.raises(InputError, match=r"run 'recon-pretrain-p0': .*log_evry"):
        check_plan([cell.run for cell in expand(table)])


@pytest.fixture
def checkpoints(tmp_path):
    """A checkpoint for each of two folds; what is in them is not read here."""
    for fold in (0, 1):
        (tmp_path / f"net{fold}.pth").write_bytes(b"")
    return {"mine": str(tmp_path / "net{fold}.pth")}


def test_every_network_is_probed_and_tuned_on_every_fold_with_every_seed(checkpoints):
    configs = ROOT / "cfgs/quickstart"
    table = compare_networks(checkpoints, folds=[0, 1], seeds=[3, 4], configs=configs, overrides=["epochs=1"])
    cells = expand(table)
    assert len(cells) == 4 * (1 + 2 + 3) == len({cell.run.folder() for cell in cells})
    mine = [cell for cell in cells if cell.row == "mine" and (cell.fold, cell.seed) == (1, 4)]
    assert [tuple(cell.metrics) for cell in mine] == [("svm", "svm_5shot"), ("finetune_5shot",), ("finetune",)]
    for cell in mine:
        cfg = cell.run.configure()
        assert cfg.init.endswith("net1.pth") and cfg.data.fold == 1 and cfg.seed == 4 and cfg.epochs == 1
    assert {cell.row for cell in cells if cell.run.configure().init is None} == {"random", "scratch"}
    assert set(table.compare) == {("mine", "scratch"), ("mine", "random"), ("scratch", "random")}


def test_a_network_for_each_seed(tmp_path):
    for seed in (3, 4):
        (tmp_path / f"net{seed}.pth").write_bytes(b"")
    networks = {"mine": str(tmp_path / "net{seed}.pth")}
    table = compare_networks(networks, folds=[0], seeds=[3, 4], configs=ROOT / "cfgs/quickstart")
    mine = [cell for cell in expand(table) if cell.row == "mine" and "svm" in cell.metrics]
    assert [(cell.pretraining, cell.seed) for cell in mine] == [(3, 3), (4, 4)]
    assert [re.search(r"net(\d)", cell.run.configure().init)[1] for cell in mine] == ["3", "4"]


@pytest.mark.parametrize(
    ("networks", "message"),
    [({}, "--ckpt NAME=PATH"), ({"scratch": "x"}, "call yours something else"), ({"a": "no{fold}.pth"}, "no0.pth")],
    ids=["none", "taken", "missing"],
)
def test_what_cannot_be_compared_is_refused(networks, message):
    with pytest.raises(InputError, match=message):
        expand(compare_networks(networks, folds=[0], seeds=[0], configs=ROOT / "cfgs/quickstart"))


def test_tables_that_share_runs_have_reports_of_their_own(write_table, tmp_path):
    path = write_table(TABLE + "out: runs\nreport: tables/rows\n")
    found = read_table(path)
    assert (str(found.out), str(found.report)) == ("runs", "tables/rows")
    # A folder on the command line is for everything.
    assert read_table(path, tmp_path).report is None and read_table(write_table()).report is None
    with pytest.raises(InputError, match="report is 3, but must be a text"):
        read_table(write_table(TABLE + "report: 3\n"))
