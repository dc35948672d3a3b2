"""Files of open encoders: those of other networks are none, those that are not whole are named."""

import pytest
import torch

from pointrecon.models.open.keys import OPENSHAPE
from pointrecon.tools.open.files import find_state, load_open_encoder
from pointrecon.utils.errors import InputError
from tests import ROOT

FILE = ROOT / "tests" / "fixtures" / "alternatives_tiny" / "openshape.pth"
CUT = {"num_groups": 16, "group_size": 8, "radius": 0.2}


@pytest.fixture(scope="module")
def state():
    return dict(find_state(torch.load(FILE, weights_only=True)))


@pytest.mark.parametrize("content", [[1], {"state_dict": {"a": torch.ones(2)}}, {"model": 3}, torch.ones(2), {}])
def test_other_files_are_none(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    assert load_open_encoder(tmp_path / "a.pth") is None


@pytest.mark.parametrize("container", ["module", "state_dict", "model_state_dict", None])
def test_weights_are_found_wherever_they_are(tmp_path, state, container):
    content = {**state, 3: "x", "epoch": 4} if container is None else {container: state, "epoch": 4}
    torch.save({**content, "logit_scale": torch.tensor(2.0)}, tmp_path / "a.pth")
    encoder, info = load_open_encoder(tmp_path / "a.pth", **CUT)
    assert info.family == OPENSHAPE and info.logit_scale == pytest.approx(2.0)
    points = torch.rand(1, 64, 6, generator=torch.Generator().manual_seed(0))
    published, _ = load_open_encoder(FILE, **CUT)
    torch.testing.assert_close(encoder(points), published(points))


def test_weights_that_are_not_whole_are_named(tmp_path, state):
    torch.save({key: value for key, value in state.items() if "norm" not in key}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth' cannot be used: "):
        load_open_encoder(tmp_path / "a.pth", **CUT)
