"""On a GPU the operations give what they give on the CPU, ties included."""

import pytest
import torch

from extensions import ops

pytestmark = pytest.mark.gpu


def test_indices_are_those_of_the_cpu(cloud):
    on_gpu = cloud.cuda()
    num_samples, k = min(8, cloud.shape[1]), min(5, cloud.shape[1])
    assert torch.equal(ops.fps(on_gpu, num_samples).cpu(), ops.fps(cloud, num_samples))
    assert torch.equal(ops.knn(on_gpu, on_gpu, k).cpu(), ops.knn(cloud, cloud, k))


@pytest.mark.parametrize("norm", [1, 2])
def test_chamfer_is_that_of_the_cpu(norm):
    a, b = torch.randn(4, 20, 3), torch.randn(4, 30, 3)
    torch.testing.assert_close(ops.chamfer_distance(a.cuda(), b.cuda(), norm).cpu(), ops.chamfer_distance(a, b, norm))
