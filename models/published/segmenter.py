"""Key names of published part-segmentation checkpoints, mapped to this project's and back.

A published file is a dict with `model_state_dict`. It holds the encoder at the top, as classifier files do. The head's
convolutions have kernels of size 1 and become Linear.
"""

import re
from collections.abc import Mapping

from torch import Tensor

# Renamings of the head, ours -> published.
HEAD_RENAMES = (
    ("head.category.", "label_conv."),
    ("head.local.fc1.", "propagation_0.mlp_convs.0."),
    ("head.local.fc2.", "propagation_0.mlp_convs.1."),
    ("head.local.norm1.", "propagation_0.mlp_bns.0."),
    ("head.local.norm2.", "propagation_0.mlp_bns.1."),
    ("head.fc1.", "convs1."),
    ("head.fc2.", "convs2."),
    ("head.fc3.", "convs3."),
    ("head.norm1.", "bns1."),
    ("head.norm2.", "bns2."),
)
CONV_KEYS = re.compile(r"(label_conv\.0|propagation_0\.mlp_convs\.[01]|convs[123])\.weight$")


def is_published_segmenter(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of a published part segmenter."""
    return any(key.removeprefix("module.").startswith("propagation_0.") for key in state)


def from_published_segmenter(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published keys -> ours."""
    from pointrecon.models.published.encoder import from_published  # not above: that file asks this one about heads

    head, rest = {}, {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        name = next((ours + key[len(old) :] for ours, old in HEAD_RENAMES if key.startswith(old)), None)
        if name is None:
            rest[key] = value
        else:
            head[name] = value.squeeze(-1) if CONV_KEYS.match(key) and value.dim() == 3 else value
    return from_published(rest) | head


def to_published_segmenter(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our keys of a `PointSegmenter` -> published."""
    from pointrecon.models.published.encoder import to_published

    published = to_published({key: value for key, value in state.items() if key.startswith("encoder.")})
    for ours, old in HEAD_RENAMES:
        for key in (key for key in state if key.startswith(ours)):
            name = old + key[len(ours) :]
            published[name] = state[key].unsqueeze(-1) if CONV_KEYS.match(name) else state[key]
    return published
