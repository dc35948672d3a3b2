"""The folded patch embedding against the plain one, and the plain one against the published layers."""

import pytest
import torch
from torch.nn import functional as F

from pointrecon.models.patches.masking import take_groups
from pointrecon.models.patches.patch_embed import FoldedPointNet, MiniPointNet


def naive_embedding(net, patches):
    """As published: the patch's maximum in front of every point's feature, then fc3 on both."""
    batch, num_groups, group_size, _ = patches.shape
    x = net.fc2(F.relu(net.norm1(net.fc1(patches.reshape(-1, 3))))).view(-1, group_size, 256)
    pooled = x.max(dim=1, keepdim=True).values.expand(-1, group_size, -1)
    x = torch.cat([pooled, x], dim=2).flatten(0, 1)
    x = net.fc4(F.relu(net.norm2(net.fc3(x))))
    return x.view(batch, num_groups, group_size, -1).max(dim=2).values


@pytest.mark.parametrize("is_training", [True, False])
def test_value_and_gradients_are_the_naive_ones(is_training):
    net = FoldedPointNet(12).double().train(is_training)
    for norm in (net.norm1, net.norm2):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    patches, weight = torch.randn(2, 4, 5, 3).double(), torch.randn(2, 4, 12).double()
    results = []
    for embed in (net, lambda x: MiniPointNet.forward(net, x), lambda x: naive_embedding(net, x)):
        tokens = embed(patches)
        results.append([tokens, *torch.autograd.grad((tokens * weight).sum(), list(net.parameters()))])
    for folded, plain, wanted in zip(*results, strict=True):
        torch.testing.assert_close(folded, wanted, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(plain, wanted, rtol=1e-9, atol=1e-9)


def test_running_statistics_are_the_plain_ones():
    plain, folded = MiniPointNet(12).double(), FoldedPointNet(12).double()
    folded.load_state_dict(plain.state_dict())
    for _ in range(3):
        patches = torch.randn(2, 4, 5, 3).double()
        torch.testing.assert_close(folded(patches), plain(patches))
    for one, other in zip(folded.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("is_training", [True, False])
def test_patches_that_are_not_kept_count_in_the_statistics_alone(is_training):
    nets = [FoldedPointNet(12).double().train(is_training) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    patches, weight = torch.randn(2, 4, 5, 3).double(), torch.randn(2, 2, 12).double()
    keep = torch.tensor([[0, 3], [2, 1]])
    results = []
    for net, tokens in ((nets[0], nets[0](patches, keep)), (nets[1], take_groups(nets[1](patches), keep))):
        gradients = torch.autograd.grad((tokens * weight).sum(), list(net.parameters()))
        results.append([tokens, *gradients, *net.buffers()])
    for actual, wanted in zip(*results, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-9)


def test_the_order_of_the_points_does_not_matter():
    net, patches = FoldedPointNet(12).eval(), torch.randn(2, 4, 9, 3)
    torch.testing.assert_close(net(patches[:, :, torch.randperm(9)]), net(patches))


def test_each_patch_is_embedded_on_its_own_in_evaluation():
    net, patches = FoldedPointNet(12).eval(), torch.randn(2, 4, 9, 3)
    torch.testing.assert_close(net(patches[1:, 2:3])[0, 0], net(patches)[1, 2])
