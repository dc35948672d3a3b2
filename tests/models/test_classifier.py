"""The classifier; above all, that frozen means frozen."""

import pytest
import torch

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.heads import classifier_feature


def train_three_steps(model, points):
    labels = torch.tensor([0, 1, 2, 0])
    # Every parameter goes to the optimizer, and the decay alone would move one that only lacks a gradient.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(points), labels).backward()
        optimizer.step()


@pytest.mark.parametrize("head", ["linear", "mlp3"])
def test_frozen_means_frozen(make_encoder, points, head):
    model = PointClassifier(make_encoder(drop_path=0.5), 3, head, freeze_backbone=True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    feature = model.forward_feature(points)
    train_three_steps(model, points)
    for key, value in model.state_dict().items():
        if key.startswith("encoder."):
            assert torch.equal(value, before[key]), key  # parameters and running statistics
        elif key.endswith("weight") and value.dim() == 2:
            assert not torch.equal(value, before[key]), key
    assert torch.equal(model.forward_feature(points), feature)  # no drop-path, no batch statistics
    assert not any(module.training for module in model.encoder.modules()) and model.head.training
    assert not feature.requires_grad


def test_free_means_free(make_encoder, points):
    model = PointClassifier(make_encoder(drop_path=0.5), 3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert not torch.equal(model.forward_feature(points), model.forward_feature(points))  # drop-path acts
    train_three_steps(model, points)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    # Batch-norm takes out what the layer in front of it adds.
    assert moved == before.keys() - {"encoder.patch_embed.fc1.bias"}


def test_logits_are_the_head_on_the_published_feature(make_encoder, points):
    model = PointClassifier(make_encoder(), 5).eval()
    feature = classifier_feature(*model.encoder(*model.encoder.group(points)))
    torch.testing.assert_close(model(points), model.head(feature))
    assert feature.shape == (4, 4 * 24) and model(points).shape == (4, 5)


def test_head_starts_small(make_encoder):
    head = PointClassifier(make_encoder(), 5).head
    assert head[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not head[0].bias.any()


def count_head_parameters(dim, num_classes):
    mlp3 = (4 * dim * 256 + 256) + 2 * 256 + (256 * 256 + 256) + 2 * 256 + (256 * num_classes + num_classes)
    return {"mlp3": mlp3, "linear": 4 * dim * num_classes + num_classes}


@pytest.mark.parametrize(
    ("embed_dim", "num_heads", "num_classes", "millions"),
    [(384, 6, 15, 43.57), (256, 4, 15, 19.73), (192, 3, 15, 11.35)],
    ids=["base", "small", "tiny"],
)
def test_published_sizes(embed_dim, num_heads, num_classes, millions):
    with torch.device("meta"):
        encoder = PointEncoder(embed_dim, 12, num_heads, 64, 32)
        counts = {
            head: sum(p.numel() for p in PointClassifier(encoder, num_classes, head).parameters())
            for head in ("mlp3", "linear")
        }
    own = sum(parameter.numel() for parameter in encoder.parameters())
    assert {head: count - own for head, count in counts.items()} == count_head_parameters(embed_dim, num_classes)
    assert counts["mlp3"] / 1e6 == pytest.approx(millions, abs=0.005)
