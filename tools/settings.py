"""The config as a type: what `utils.config.load_config` returns, key by key, as cfgs/_base_ lists them.

A test compares the keys with the YAML files. At run time a config is a plain nested dictionary.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class DistillSettings(TypedDict):
    """One teacher's loss, `loss.<teacher>`."""

    type: str
    weight: float
    temperature: float
    learn_temperature: bool
    normalize: bool


class TeacherSettings(TypedDict, total=False):
    """One frozen teacher, `teachers.<name>`; `reads` is there for further names than `image` and `text`."""

    type: str
    reads: str
    options: Mapping[str, Any]
    cached: bool
    path: str | None
    num_views: int | None
    seed: int
    center: bool
    control: str
    num_prompts: int | None
    draws: int


class OptimSettings(TypedDict):
    """Section `optim`."""

    type: str
    lr: float
    weight_decay: float
    betas: Sequence[float]
    warmup_epochs: int
    warmup_lr: float
    min_lr: float
    grad_clip: float | None
    head_lr_scale: float
    layer_decay: float


class EmaSettings(TypedDict):
    """Section `ema`."""

    decay: float | None


class AugmentSettings(TypedDict):
    """Section `data.augment`."""

    rotate_y: float
    tilt: float
    scale: Sequence[float]
    scale_isotropic: bool
    shift: float
    jitter: float
    flip_x: float
    dropout: float
    color_drop: float
    up: str


class DataSettings(TypedDict):
    """Section `data`."""

    type: str
    root: str | None
    num_points: int
    normalize: bool
    fold: int | None
    way: int | None
    shots: int | None
    val_fraction: float
    drop_last: bool
    device_resident: bool
    sample_pool: int | None
    eval_sampling: str
    on_error: str
    cache_root: str | None
    augment: AugmentSettings
    options: Mapping[str, Any]


class ModelSettings(TypedDict):
    """Section `model`."""

    type: str
    block: str
    queries: Mapping[str, int]
    embed_dim: int
    depth: int
    num_heads: int
    patch_width: int
    mlp_ratio: float
    num_groups: int
    group_size: int
    drop_path: float
    mask_ratio: float
    mask_type: str
    decoder_depth: int
    decoder_num_heads: int
    stop_grad: bool
    stop_share: float
    stop_grad_until: int | None
    class_token: bool
    embed_masked: bool
    step: str
    colors: bool
    color_fill: float
    large_embedding: bool
    layer_scale: bool
    skip_origin: bool


class ClassifierSettings(TypedDict):
    """Section `classifier`."""

    num_classes: int | None
    head: str
    init_head: str
    freeze: str
    dropout: float
    stream: str
    rebuild_weight: float
    label_smoothing: float


class SegmenterSettings(TypedDict):
    """Section `segmenter`."""

    feature_blocks: Sequence[int]
    dropout: float
    init_head: str


class ChamferSettings(TypedDict):
    """Section `loss.chamfer`."""

    type: str
    weight: float
    color: float


class ContrastSettings(TypedDict):
    """Section `loss.contrast`."""

    positives: str
    weight: float
    temperature: float
    dim: int


class LossSettings(TypedDict):
    """Section `loss`."""

    chamfer: ChamferSettings
    image: DistillSettings
    text: DistillSettings
    contrast: ContrastSettings


class Settings(TypedDict):
    """A whole config."""

    task: str
    epochs: int
    batch_size: int
    accum_steps: int
    accum_cached: bool
    parallel: str
    checkpoint_blocks: bool
    num_workers: int
    device: str
    precision: str
    compile: bool
    cuda_graph: bool
    seed: int
    deterministic: bool
    sync_bn: bool
    data_root: str
    output_root: str
    eval_every: int
    save_every: int
    save_epochs: int
    log_every: int
    keep_epochs: Sequence[int]
    keep: str
    init: str | None
    start: str
    resume: bool
    resume_changed: bool
    skip_nonfinite: int
    select: str
    protocol: str
    num_votes: int
    figures: bool | str
    evaluators: Mapping[str, Mapping[str, Any] | None]
    optim: OptimSettings
    ema: EmaSettings
    data: DataSettings
    model: ModelSettings
    classifier: ClassifierSettings
    segmenter: SegmenterSettings
    loss: LossSettings
    teachers: Mapping[str, TeacherSettings | None]
