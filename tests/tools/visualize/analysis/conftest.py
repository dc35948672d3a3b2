"""Two miniature pretrainings: one with everything, one that only reconstructs."""

import pytest
import yaml

import main
from pointrecon.tools.visualize.analysis.subjects import open_subjects
from tests.miniature import TINY


@pytest.fixture(scope="session")
def analysed(tmp_path_factory, data_root):
    """Folder of the runs `both` (with the stop, two epochs, both kept) and `alone`; not to be changed."""
    folder = tmp_path_factory.mktemp("analysis")
    config = folder / "tiny.yaml"
    config.write_text(yaml.dump({**TINY, "data_root": str(data_root), "output_root": str(folder / "out")}))
    main.run(["--config", str(config), "--exp_name", "both", "keep_epochs=[1]"])
    alone = ["epochs=1", "teachers.image=null", "teachers.text=null"]
    main.run(["--config", str(config), "--exp_name", "alone", *alone])
    return folder / "out" / "tiny" / folder.name


@pytest.fixture(scope="session")
def subjects(analysed):
    """The networks `both`, `alone` and `random`."""
    return open_subjects([str(analysed / "both"), str(analysed / "alone"), "random"])
