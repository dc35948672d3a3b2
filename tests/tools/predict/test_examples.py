"""The examples run as they are, in an empty folder, on a miniature network."""

import json
import runpy

import numpy as np
import pytest

from pointrecon.tools.build import build_pretrainer
from pointrecon.tools.checkpoints.checkpoint import save_checkpoint
from pointrecon.utils.config import complete_config, to_plain
from tests import ROOT
from tests.miniature import TINY

EXAMPLES = ROOT / "scripts" / "examples"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder with a network whose words are as long as those of the text teacher."""
    cfg = complete_config({"model": TINY["model"], "data": TINY["data"]}, "test")
    network = build_pretrainer(cfg, {"text": 384})
    save_checkpoint({"base_model": network.state_dict(), "config": to_plain(cfg)}, tmp_path / "tiny.pth")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("POINTRECON_MODEL", str(tmp_path / "tiny.pth"))
    # Words without a teacher and without a table.
    random = np.random.RandomState(0)
    for module in ("model", "search"):
        monkeypatch.setattr(
            f"pointrecon.{module}.class_features", lambda names, info: random.randn(len(names), 384).astype("f")
        )
    return tmp_path / "here"


def test_the_notebook(place, capsys):
    notebook = json.loads((EXAMPLES / "first_steps.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    names: dict = {}
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), "kept without outputs"
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["found"].embeddings.shape == (9, 48) and len(names["hits"]) == 4
    assert names["hits"][0].id.endswith("rod0.npy") and names["attention"].positions.shape == (1, 8, 3)
    assert set(names["result"].labels) <= {"ball", "plate", "pole"}
    assert {path.name for path in place.iterdir()} == {"shapes", "shapes.index"}


def test_the_script(place, monkeypatch, capsys):
    (place / "mine").mkdir()
    for row in range(4):
        np.save(place / "mine" / f"{row}.npy", np.random.RandomState(row // 2).randn(60, 3))
    (place / "mine" / "broken.npy").write_bytes(b"?")
    model = str(place.parent / "tiny.pth")
    monkeypatch.setattr("sys.argv", ["find_alike.py", "mine", "--model", model, "--up", "y", "--words", "chair"])
    runpy.run_path(str(EXAMPLES / "find_alike.py"), run_name="__main__")
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0][0].startswith("skipped mine/broken.npy")
    assert [row[:2] for row in rows[1:5]] == [
        [f"mine/{a}.npy", f"mine/{b}.npy"] for a, b in ((0, 1), (1, 0), (2, 3), (3, 2))
    ]
    assert rows[6] == ["most like 'chair':"] and len(rows) == 11


def test_every_example_is_named_and_run():
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert names == {"find_alike.py", "first_steps.ipynb"} and all(name in text for name in names)
