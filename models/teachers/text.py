"""Text teachers from transformers: a sentence encoder that averages its tokens, such as all-MiniLM-L6-v2."""

import contextlib
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from pointrecon.models.teachers import TEACHERS
from pointrecon.models.teachers.base import OPTION, FrozenTeacher, find_weights
from pointrecon.models.teachers.hub import one_try
from pointrecon.utils.errors import InputError


@TEACHERS.register()
class SentenceTeacher(FrozenTeacher):
    """Reads text with a transformer and takes the mean over the tokens of a sentence.

    Args:
        model: Name on the hub, such as sentence-transformers/all-MiniLM-L6-v2.
        pretrained: hub (transformers downloads the weights), a folder, or package:NAME/PATH (a folder in an installed
            Python package).
        normalize: Scale features to length 1, as these encoders are trained to be used.

    Raises:
        InputError: transformers is not installed, or the weights cannot be had.
    """

    def __init__(self, model: str, pretrained: str | None = "hub", normalize: bool = True) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise InputError("SentenceTeacher needs transformers; run: pip install -e '.[teachers]'") from error

        if pretrained is None:
            raise InputError("SentenceTeacher needs weights; set pretrained to hub or to a folder")
        source = model if pretrained == "hub" else str(find_weights(pretrained))
        try:
            with one_try() if pretrained == "hub" else contextlib.nullcontext():
                tokenizer = AutoTokenizer.from_pretrained(source)
                network = AutoModel.from_pretrained(source)
        except Exception as error:  # the hub's client raises its own types when there is no network
            reason = " ".join(str(error).split())[:100].rstrip(".")
            raise InputError(
                f"transformers could not load '{source}' ({reason}); fetch all files of https://huggingface.co/{model} "
                "(config.json, tokenizer.json, model.safetensors and others) on a machine that can and give a folder "
                f"with them as {OPTION}"
            ) from error
        super().__init__(network, network.config.hidden_size)
        self.tokenizer = tokenizer
        self.normalize = normalize

    def forward_text(self, texts: Sequence[str]) -> Tensor:
        """Turns B sentences into (B, D) features: the mean over their own tokens, padding left out."""
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self.device)
        states = self.network(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None].to(states.dtype)
        features = (states * mask).sum(1) / mask.sum(1)
        return F.normalize(features, dim=-1) if self.normalize else features
