"""A table of runs on miniature data: a pretraining, what is measured on it, and rows without pretraining."""

import pytest
import yaml

from pointrecon.tools.sweeps.read_table import read_table
from tests.miniature import TINY

TABLE = """
pretrain: {config: pretrain.yaml, seeds: [0, 1]}
overrides: [log_every=1]
downstream:
  - {name: svm, config: svm.yaml, folds: [0, 1], metrics: {svm: svm_accuracy}, baselines: {random: svm.yaml}}
  - {name: tuned, config: finetune.yaml, seeds: [0, 1], baselines: {scratch: finetune.yaml}}
rows:
  - {name: recon}
  - {name: alone, overrides: [teachers.image=null, teachers.text=null], skip: [tuned]}
  - {name: scratch, baseline: scratch}
  - {name: random, baseline: random}
"""


@pytest.fixture
def write_table(tmp_path, data_root):
    """write_table(text, **changes of the pretraining) writes configs and a table, and returns the table's path."""

    def write(text=TABLE, **changes):
        folder = tmp_path / "cfgs"
        folder.mkdir(exist_ok=True)
        shared = {**TINY, "epochs": 1, "data_root": str(data_root)}
        probe = {"task": "evaluate", "epochs": 0, "evaluators": {"svm": {}}}
        tuned = {"task": "classify", "classifier": {"head": "linear"}}
        for name, more in {"pretrain": changes, "svm": probe, "finetune": tuned}.items():
            (folder / f"{name}.yaml").write_text(yaml.dump({**shared, **more}))
        path = folder / "table.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def table(write_table, tmp_path):
    """The table, to be run in a folder of the test."""
    return read_table(write_table(), tmp_path / "out")
