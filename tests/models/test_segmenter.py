"""The part segmenter against one that is written as published: every channel repeated for every point."""

import pytest
import torch
from torch.nn import functional as F

from pointrecon.models.encoder import PointEncoder
from pointrecon.models.published.segmenter import to_published_segmenter
from pointrecon.models.segmenter import PointSegmenter, choose_blocks, interpolate
from pointrecon.utils.errors import InputError

NUM_CLASSES, NUM_PARTS = 3, 7
LABELS = torch.tensor([2, 0, 1, 0])


@pytest.fixture
def segmenter(make_encoder):
    model = PointSegmenter(make_encoder(depth=3), NUM_CLASSES, NUM_PARTS, dropout=0.0)
    for module in model.head.modules():  # batch-norm that does something
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    return model


def conv_norm(state, x, conv, norm, training):
    """A convolution of size 1 and its batch-norm on (B, C, N), with the weights under their published names."""
    x = F.conv1d(x, state[f"{conv}.weight"], state.get(f"{conv}.bias"))
    statistics = (state[f"{norm}.running_mean"].clone(), state[f"{norm}.running_var"].clone())
    return F.batch_norm(x, *statistics, state[f"{norm}.weight"], state[f"{norm}.bias"], training)


def segment_naively(model, state, points, labels, training):
    """Logits (B, N, P); the head from the formulas, in the published layout (B, C, N)."""
    encoder, num_points = model.encoder, points.shape[1]
    patches, centers = encoder.group(points)
    queries, tokens = encoder.query_tokens.expand(len(points), -1, -1), encoder.patch_embed(patches)
    layers = []
    for block in encoder.blocks:
        queries, tokens = block(queries + encoder.query_positions, tokens + encoder.pos_embed(centers), False)
        layers.append(encoder.norm(tokens))
    features = torch.cat(layers, dim=-1)  # depth 3: every block is at a third of the depth

    squared = (points[:, :, None] - centers[:, None]).square().sum(-1)
    nearest = squared.topk(3, dim=-1, largest=False)
    weight = 1 / (nearest.values + 1e-8)
    weight = weight / weight.sum(-1, keepdim=True)
    at_points = torch.stack([f[i] for f, i in zip(features, nearest.indices, strict=True)])  # (B, N, 3, L)
    local = torch.cat([points, (at_points * weight.unsqueeze(-1)).sum(2)], dim=-1).transpose(1, 2)
    for layer in range(2):
        prefix = "propagation_0.mlp_{}." + str(layer)
        local = conv_norm(state, local, prefix.format("convs"), prefix.format("bns"), training).relu()

    one_hot = torch.eye(NUM_CLASSES)[labels].unsqueeze(-1)
    category = F.leaky_relu(conv_norm(state, one_hot, "label_conv.0", "label_conv.1", training), 0.2)
    parts = (features.amax(1).unsqueeze(-1), features.mean(1).unsqueeze(-1), queries.amax(1).unsqueeze(-1), category)
    x = torch.cat([local, *(part.expand(-1, -1, num_points) for part in parts)], dim=1)
    x = conv_norm(state, x, "convs1", "bns1", training).relu()
    x = conv_norm(state, x, "convs2", "bns2", training).relu()
    return F.conv1d(x, state["convs3.weight"], state["convs3.bias"]).transpose(1, 2)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_head_is_the_published_one(segmenter, points, training):
    state = to_published_segmenter(segmenter.state_dict())
    expected = segment_naively(segmenter.eval(), state, points, LABELS, training=False)
    if training:  # the encoder stays in evaluation mode: both sides use it
        expected = segment_naively(segmenter, state, points, LABELS, training=True)
        segmenter.head.train()
    logits = segmenter(points, LABELS)
    assert logits.shape == (4, 60, NUM_PARTS)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_the_concatenation(segmenter, points):
    parameters = dict(segmenter.eval().named_parameters())
    state = to_published_segmenter(dict(segmenter.named_buffers()) | parameters)
    target = torch.randint(NUM_PARTS, (240,))
    logits = (segmenter(points, LABELS), segment_naively(segmenter, state, points, LABELS, training=False))
    losses = (F.cross_entropy(x.flatten(0, 1), target) for x in logits)
    ours, theirs = (torch.autograd.grad(loss, [*parameters.values()]) for loss in losses)
    for name, a, b in zip(parameters, ours, theirs, strict=True):
        assert (a - b).norm() < 1e-4 * b.norm(), name


def test_logits_are_in_the_order_of_the_points(segmenter, points):
    order = torch.cat([torch.zeros(1, dtype=torch.int64), torch.randperm(59) + 1])  # sampling starts at point 0
    segmenter.eval()
    logits = segmenter(points, LABELS)
    torch.testing.assert_close(segmenter(points[:, order], LABELS), logits[:, order], atol=1e-5, rtol=1e-4)


def test_interpolation_by_hand():
    centers = torch.tensor([[[0.0, 0, 0], [3, 0, 0], [0, 2, 0], [50, 0, 0]]])
    features = torch.tensor([[[1.0], [10], [100], [1e6]]])
    points = torch.tensor([[[1.0, 0, 0], [3, 0, 0]]])
    found = interpolate(points, centers, features).flatten().tolist()
    weights = (1, 1 / 4, 1 / 5)  # squared distances 1, 4 and 5
    assert found[0] == pytest.approx((1 + 10 / 4 + 100 / 5) / sum(weights))
    assert found[1] == pytest.approx(10, abs=1e-4)  # a point on a centre has that centre's feature


def test_which_blocks_are_read(make_encoder):
    assert choose_blocks([], 12) == [4, 8, 12]
    assert [choose_blocks([], depth) for depth in (1, 2, 3, 6)] == [[1], [1, 2], [1, 2, 3], [2, 4, 6]]
    assert choose_blocks([3, 1], 3) == [1, 3]
    model = PointSegmenter(make_encoder(depth=3), NUM_CLASSES, NUM_PARTS, feature_blocks=[2])
    assert model.head.local.fc1.in_features == 3 + 24
    for blocks in ([0], [4], [1.5], [True]):
        with pytest.raises(InputError, match="feature_blocks"):
            choose_blocks(blocks, 3)


def test_the_published_width():
    with torch.device("meta"):
        head = PointSegmenter(PointEncoder(384, 12, 6, 128, 32), 16, 50).head
    assert head.fc1.in_features == 1024 + 1152 + 1152 + 384 + 64 == 3776
    assert head.local.fc1.weight.shape == (1536, 1155)
