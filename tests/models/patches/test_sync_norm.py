"""Two processes that share a batch compute what one process computes with all of it."""

import json

import pytest
import torch
from torch import nn

from pointrecon.models.blocks.batch_norm import BatchNorm1d
from pointrecon.models.patches.sync_norm import SyncBatchNorm1d, synchronize_norms
from tests.processes import run_in_processes

WORKER = """
import copy, json, os
import torch
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.losses.contrast import Contrast
from pointrecon.models.losses.distillation import Distillation, infonce_distillation
from pointrecon.models.patches.masking import Split, split_of_mask
from pointrecon.models.recon import ReCon
from pointrecon.models.patches.sync_norm import synchronize_norms
from pointrecon.utils.processes import connection, distributed

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
teachers = dict(image=Distillation(6, infonce_distillation, temperature=0.1), text=Distillation(5))
teachers["views"] = Distillation(3)
encoder = PointEncoder(12, 2, 2, 8, 4, drop_path=0.0, queries=dict(cls=1, image=1, text=1, views=2))
decoder = MaskedDecoder(12, 1, 2, 4, mlp_ratio=2.0)
model = ReCon(encoder, decoder, mask_ratio=0.5, teachers=teachers, contrast=Contrast(dim=8))
points, labels = torch.randn(8, 32, 3), torch.arange(8) % 3
targets = dict(image=torch.randn(8, 6), text=torch.randn(8, 5), views=torch.randn(8, 2, 3))
targets["views_mask"] = torch.tensor([[1, 1]] * 5 + [[1, 0]] + [[0, 0]] * 2).bool()
split = split_of_mask(torch.rand(8, 8).argsort(dim=1) < 4)

def train(network, part):
    own = {name: x[part] for name, x in targets.items()}
    hidden = Split(*(x[part] for x in split))
    total = sum(network(points[part], own, labels=labels[part], split=hidden).values())
    total.backward()
    return total.detach()

size = os.environ.pop("WORLD_SIZE")  # before the processes know of each other
alone = copy.deepcopy(model).train()
expected = train(alone, slice(None))
os.environ["WORLD_SIZE"] = size
connection.init("cpu")
network = synchronize_norms(copy.deepcopy(model).train())
shared = torch.nn.parallel.DistributedDataParallel(network, find_unused_parameters=True)
# Uneven parts of the batch would be wrong for InfoNCE; the rows alternate as the sampler's do.
mean = distributed.all_reduce_mean(train(shared, slice(distributed.rank(), None, 2)))
found = {"loss": abs(mean - expected).item()}
for (name, ours), (_, other) in zip(network.named_parameters(), alone.named_parameters(), strict=True):
    if other.grad is not None:
        found[name] = ((ours.grad - other.grad).norm() / other.grad.norm().clamp_min(1e-6)).item()
for (name, ours), (_, other) in zip(network.named_buffers(), alone.named_buffers(), strict=True):
    found[name] = (ours - other).abs().max().item()
del shared
connection.cleanup()
print(json.dumps(found))
"""


def test_two_processes_with_half_a_batch_each_make_the_step_of_one():
    for output in run_in_processes(WORKER):
        differences = json.loads(output.splitlines()[-1])
        assert len(differences) > 60 and any("running_var" in name for name in differences)
        wrong = {name: value for name, value in differences.items() if not value <= 1e-5}
        assert not wrong, wrong


def test_with_one_process_it_is_batch_norm():
    model = nn.Sequential(nn.Linear(3, 4), BatchNorm1d(4), nn.ReLU())
    twin, x = nn.Sequential(nn.Linear(3, 4), BatchNorm1d(4), nn.ReLU()), torch.randn(9, 3)
    twin.load_state_dict(model.state_dict())
    parameters = list(model.parameters())
    assert synchronize_norms(model) is model and type(model[1]) is SyncBatchNorm1d
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    torch.testing.assert_close(model(x), twin(x), rtol=0, atol=0)
    torch.testing.assert_close(model[1].running_var, twin[1].running_var, rtol=0, atol=0)


@pytest.mark.parametrize("is_training", [True, False])
def test_statistics_of_other_kinds_are_left_alone(is_training):
    model = synchronize_norms(nn.Sequential(nn.LayerNorm(4), nn.BatchNorm2d(4))).train(is_training)
    assert [type(module) for module in model] == [nn.LayerNorm, nn.BatchNorm2d]
