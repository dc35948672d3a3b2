"""What main.py says without a run: --print-config and --list."""

import pytest

import main
from pointrecon.tools.startup import list_names, print_config
from pointrecon.utils.config import load_config, resolve_config, to_plain
from tests import ROOT


def run(monkeypatch, capsys, *argv):
    monkeypatch.setattr("sys.argv", ["main.py", *argv])
    code = main.main()
    return code, capsys.readouterr().out


def test_the_resolved_config_says_where_each_value_comes_from(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    argv = ["--config", "cfgs/linear/fewshot.yaml", "--print-config", "--seed", "3", "data.augment.scale=[0.9, 1.1]"]
    code, text = run(monkeypatch, capsys, *argv, "data.type=NoSuchDataSet", "init='1e5'", f"data_root={tmp_path}/none")
    origins = dict(reversed([[part.strip() for part in line.partition("#")[::2]] for line in text.splitlines()]))
    assert code == 0
    for line in ("seed: 3", "scale: [0.9, 1.1]", "type: NoSuchDataSet", "init: '1e5'"):
        assert origins[line] == "command line", line
    assert origins["head: linear"] == "cfgs/linear/fewshot.yaml"
    assert origins["way: 5"] == "cfgs/full/fewshot.yaml"
    assert origins["sample_pool: 1200"] == "cfgs/full/finetune_modelnet.yaml"
    assert origins["device: auto"] == "", "a default"


@pytest.mark.parametrize("path", ["quickstart/svm.yaml", "pretrain/debshapes_base.yaml", "zeroshot/scan_objonly.yaml"])
def test_what_is_printed_is_itself_the_config(tmp_path, path):
    overrides = ["init='a: b # c'", "data.options={name: '010', nested: [[1, 2], {a: null}]}", "keep_epochs=[1, 2]"]
    resolved = resolve_config(ROOT / "cfgs" / path, overrides)
    (tmp_path / "printed.yaml").write_text(print_config.describe(resolved))
    assert to_plain(load_config(tmp_path / "printed.yaml")) == to_plain(resolved.cfg)


@pytest.mark.parametrize("kind", list(list_names.KINDS))
def test_every_kind_is_listed(monkeypatch, capsys, kind):
    known = {
        "datasets": ["ModelNet40", "SweetHome3D"],
        "teachers": ["OpenClipTeacher", "TimmTeacher"],
        "evaluators": ["svm", "zero_shot", "embeddings"],
        "tasks": ["pretrain", "classify", "segment", "evaluate"],
        "models": ["ReCon", "TwoTower"],
        "blocks": ["ReConBlock"],
    }
    code, text = run(monkeypatch, capsys, "--list", kind)
    assert code == 0 and "cannot be imported" not in text
    names = [line.split()[0] for line in text.splitlines()[1:] if line.startswith("  ") and line[2] != " "]
    assert set(known[kind]) <= set(names) and names == sorted(names, key=lambda name: names.index(name))
    assert text.splitlines()[0].startswith(f"{kind}: {list_names.KINDS[kind].key}")


def test_options_are_those_that_a_config_gives():
    lines = list_names.describe("evaluators").splitlines()
    options = lines[next(number for number, line in enumerate(lines) if line.split()[0] == "svm") + 1]
    assert "C: float = " in options and "shots: " in options and "cfg" not in options and "store" not in options


def test_an_unknown_kind_is_refused(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--list", "cars")[0] == 2


def test_the_flags_of_looking_are_in_the_help(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["main.py", "--help"])
    with pytest.raises(SystemExit):
        main.main()
    text = capsys.readouterr().out
    assert "--print-config" in text and "--list KIND" in text and ", ".join(list_names.KINDS) in " ".join(text.split())
