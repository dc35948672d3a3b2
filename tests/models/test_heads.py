"""Heads and the features that they read."""

import pytest
import torch
from torch import nn

from pointrecon.models.blocks.batch_norm import BatchNorm1d
from pointrecon.models.blocks.layers import Dropout
from pointrecon.models.heads import classifier_feature, make_contrast_head, make_head, probe_feature
from pointrecon.utils.errors import InputError


@pytest.fixture
def streams():
    return torch.randn(2, 3, 4), torch.randn(2, 6, 4)


def test_classifier_feature(streams):
    for queries, tokens, feature in zip(*streams, classifier_feature(*streams), strict=True):
        assert feature.tolist() == [*queries[0], *queries[1], *queries[2], *(max(column) for column in tokens.T)]


def test_probe_feature(streams):
    for queries, tokens, feature in zip(*streams, probe_feature(*streams), strict=True):
        wanted = [max(column) for column in queries.T] + [max(column) + sum(column) / 6 for column in tokens.T]
        torch.testing.assert_close(feature, torch.stack(wanted))


def widths(head):
    return [(layer.in_features, layer.out_features) for layer in head if isinstance(layer, nn.Linear)]


def test_linear_head():
    assert widths(make_head("linear", 20, 7)) == [(20, 7)]


def test_mlp3_head():
    head = make_head("mlp3", 20, 7, dropout=0.3)
    assert widths(head) == [(20, 256), (256, 256), (256, 7)]
    middle = [nn.Linear, BatchNorm1d, nn.ReLU, Dropout]
    assert [type(layer) for layer in head] == [*middle, *middle, nn.Linear]
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.3, 0.3]


def test_contrast_head():
    head = make_contrast_head(20, 8)
    assert widths(head) == [(20, 8), (8, 8)]
    assert [type(layer) for layer in head][1:3] == [BatchNorm1d, nn.ReLU]
    assert isinstance(head[-1], BatchNorm1d)


def test_an_unknown_head_is_refused():
    with pytest.raises(InputError, match="classifier.head is 'mpl3'.*did you mean 'mlp3'"):
        make_head("mpl3", 20, 7)
