"""Teachers from open_clip: one network that sees pictures and reads text, with features in one space."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from torch import Tensor

from pointrecon.models.teachers import TEACHERS
from pointrecon.models.teachers.base import OPTION, FrozenTeacher, check_model_name, find_weights
from pointrecon.models.teachers.hub import one_try
from pointrecon.utils.errors import InputError, nearest


@TEACHERS.register()
class OpenClipTeacher(FrozenTeacher):
    """Sees pictures and reads text with a CLIP network.

    Args:
        model: Name in open_clip, such as ViT-B-32, or the path of a JSON file that describes a network.
        pretrained: One of the model's tags (open_clip downloads the weights), such as openai; a weights file;
            package:NAME/PATH (a file in an installed Python package); or None: random weights, for tests only.

    Raises:
        InputError: An unknown network or tag, or weights that cannot be had or do not fit.
    """

    def __init__(self, model: str, pretrained: str | None = None) -> None:
        try:
            import open_clip
        except ImportError as error:
            raise InputError("OpenClipTeacher needs open_clip; run: pip install open_clip_torch") from error

        if model.endswith(".json"):
            if not Path(model).is_file():
                raise InputError(f"there is no network description '{model}'; give the path of a JSON file")
            open_clip.add_model_config(Path(model))
            model = Path(model).stem
        check_model_name("open_clip", model, open_clip.list_models())
        tags = open_clip.list_pretrained_tags_by_model(model)
        if pretrained is not None and pretrained not in tags:
            if isinstance(pretrained, str) and "/" not in pretrained and not Path(pretrained).exists():
                raise InputError(
                    f"'{pretrained}' is no weights file and no tag of {model}; {nearest(pretrained, tags)}"
                )
            pretrained = str(find_weights(pretrained))
        try:
            with one_try() if pretrained in tags else contextlib.nullcontext():
                network = open_clip.create_model(model, pretrained=pretrained)
        except Exception as error:  # the hub's client and torch raise a dozen types
            raise InputError(_describe_missing(open_clip, model, pretrained, error)) from error
        visual, preprocess = network.visual, network.visual.preprocess_cfg
        size = visual.image_size if isinstance(visual.image_size, int) else max(visual.image_size)
        dim = _feature_size(open_clip, model)
        super().__init__(network, dim, size, preprocess["mean"], preprocess["std"], preprocess["interpolation"])
        self.tokenizer = open_clip.get_tokenizer(model)

    def forward_image(self, images: Tensor) -> Tensor:
        """Turns (B, 3, S, S) prepared pictures into (B, D) features, not normalised."""
        return self.network.encode_image(images)

    def forward_text(self, texts: Sequence[str]) -> Tensor:
        """Turns B sentences into (B, D) features, not normalised."""
        return self.network.encode_text(self.tokenizer(list(texts)).to(self.device))


def _feature_size(open_clip: ModuleType, model: str) -> int:
    return int(open_clip.get_model_config(model)["embed_dim"])


def _describe_missing(open_clip: ModuleType, model: str, pretrained: str | None, error: Exception) -> str:
    """Says which file could not be had and where it is to be put."""
    reason = " ".join(str(error).split())[:100].rstrip(".")
    config = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    if not config:
        return f"open_clip could not load '{model}' with '{pretrained}' ({reason}); give the model's own weights file"
    hub = (config.get("hf_hub") or "").strip("/")
    file = (
        f"open_clip_model.safetensors or open_clip_pytorch_model.bin of https://huggingface.co/{hub}"
        if hub
        else config.get("url")
    )
    # A file does not say which activation its network was trained with; a tag does.
    quick = f"{model}-quickgelu"
    has_twin = config.get("quick_gelu") and quick in open_clip.list_models()
    return (
        f"open_clip could not download the weights '{pretrained}' of '{model}', {file} ({reason}); fetch this file on "
        f"a machine that can and give its path as {OPTION}" + (f", with model '{quick}'" if has_twin else "")
    )
