"""Runs of the miniature as they lie on the disk, and the page that is made of them."""

import shutil

import numpy as np
import pytest
import yaml

import main
from pointrecon.tools.report.build import write_report
from tests.miniature import TINY


@pytest.fixture(scope="session")
def finished(tmp_path_factory, data_root):
    """Folder of a pretraining with embeddings and two fine-tunings that differ in their seed; not to be changed."""
    folder = tmp_path_factory.mktemp("report")
    config = folder / "tiny.yaml"
    config.write_text(yaml.dump({**TINY, "data_root": str(data_root), "output_root": str(folder / "out")}))
    begin = ["--config", str(config), "--exp_name"]
    main.run([*begin, "pretrain", "figures=png", "evaluators={embeddings: {}}"])
    start = folder / "out" / "tiny" / folder.name / "pretrain" / "ckpt-last.pth"
    for seed in (0, 1):
        words = ["task=classify", "--seed", str(seed), "--ckpts", str(start)]
        main.run([*begin, f"tune-seed{seed}", *words])
    return folder / "out" / "tiny" / folder.name


@pytest.fixture
def runs(finished, tmp_path):
    """A copy of the runs, without their checkpoints, to be changed."""
    target = tmp_path / "runs"
    shutil.copytree(finished, target, ignore=shutil.ignore_patterns("ckpt-*", "tb", "figures"))
    return target


@pytest.fixture(scope="session")
def page(finished, tmp_path_factory):
    """report.html of all runs; not to be changed."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report([finished], path)
    return path


@pytest.fixture
def cloud():
    return np.random.RandomState(0).uniform(-0.5, 0.5, (40, 3))
