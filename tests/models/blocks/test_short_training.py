"""A network after ten steps is tested with statistics that it has learnt."""

import pytest
import torch
from torch.nn import functional as F

from pointrecon.models.blocks.batch_norm import use_plain_statistics
from pointrecon.models.classifier import PointClassifier
from pointrecon.models.encoder import PointEncoder

STRETCH = torch.tensor([[1, 1, 1], [1, 0.05, 1], [0.05, 1, 0.05], [1, 1, 0.05], [0.05, 0.05, 1]])


def make_clouds(num_each, seed):
    """Clouds of five classes that differ clearly: (n, 128, 3) in the unit sphere, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(STRETCH)).repeat(num_each)
    points = torch.rand(len(labels), 128, 3, generator=generator) * 2 - 1
    points = points * STRETCH[labels].unsqueeze(1)
    return points / points.norm(dim=-1).amax(dim=1)[:, None, None], labels


@pytest.mark.parametrize(("is_plain", "is_right"), [(False, True), (True, False)])
def test_ten_steps(is_plain, is_right):
    torch.manual_seed(0)
    encoder = PointEncoder(32, 2, 2, 16, 16, drop_path=0.0, patch_width=32)
    model = PointClassifier(encoder, len(STRETCH), "mlp3", dropout=0.0).train()
    if is_plain:
        use_plain_statistics(model)
    points, labels = make_clouds(5, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(10):
        logits = model(points)
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
    in_training = (logits.argmax(dim=1) == labels).float().mean()
    others, answers = make_clouds(10, seed=2)
    with torch.no_grad():
        in_test = (model.eval()(others).argmax(dim=1) == answers).float().mean()
    assert in_training > 0.9
    assert (in_test > 0.85) == is_right, in_test
