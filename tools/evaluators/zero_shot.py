"""Zero-shot recognition: the class whose prompts are nearest to what the queries say.

Shape legend: n objects, C classes, Q prompts a class, D feature width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.tools.build import build_dataset
from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.accuracy import report_on, save_predictions
from pointrecon.tools.evaluators.base import Embedding, Encode, encode_dataset
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.teachers.teachers import CACHED, class_prompts
from pointrecon.utils.errors import InputError, check_choice

QUERIES = ("text", "image", "both")


@EVALUATORS.register("zero_shot")
class ZeroShot:
    """Cosine between the projected query and each class's mean prompt embedding (ReCon, section 4.3).

    Args:
        cfg: the whole config.
        split: which split of the data set; the default never trains.
        query: `text` or `image` alone, or `both`: image + ratio * text, for teachers that share one space.
        ratio: weight of the text query in `both`.
    """

    def __init__(self, cfg: Mapping[str, Any], split: str = "test", query: str = "text", ratio: float = 1.0) -> None:
        check_choice("evaluators.zero_shot.query", query, QUERIES)
        if cfg["teachers"]["text"] is None:
            raise InputError("zero-shot recognition needs the text teacher's prompts, but teachers.text is null")
        self.cfg = cfg
        self.query = query
        self.ratio = ratio
        self.batch_size = cfg["batch_size"]
        self.split = "train and test" if has_quirk(cfg, "train_and_test") else split
        self.dataset = build_dataset(cfg, split, shots=None)
        # A missing cache is found out before the run folder is there; a teacher is asked when the run starts.
        self.prompts = class_prompts(cfg, self.dataset) if cfg["teachers"]["text"]["type"] == CACHED else None

    def run(self, encode: Encode, ctx: Any) -> dict[str, Any]:
        """Returns `accuracy`, `mean_class_accuracy`, `num_objects` and what was compared."""
        prompts = class_prompts(self.cfg, self.dataset, ctx.device) if self.prompts is None else self.prompts
        is_summed = has_quirk(self.cfg, "summed_prompts")
        classes = class_embeddings(prompts, self.cfg["teachers"]["text"]["center"], is_summed)
        embedding, labels, ids = encode_dataset(encode, self.dataset, self.batch_size)
        if has_quirk(self.cfg, "train_and_test"):
            embedding, labels, ids = self.add_train(encode, embedding, labels, ids)
        student = self.forward_student(embedding)
        if student.shape[-1] != classes.shape[-1]:
            raise InputError(
                f"the {self.query} query is projected to {student.shape[-1]} values, but the prompts have "
                f"{classes.shape[-1]}; query '{self.query}' needs teachers that share one space, use query=text"
            )
        predictions = (F.normalize(student, dim=-1) @ classes.T).argmax(dim=1)
        names = self.dataset.class_names
        save_predictions(ctx.folder / "predictions-zero_shot.npz", ids, labels, predictions, names)
        report = report_on(self.dataset, predictions, labels)
        return report | {"num_classes": len(names), "split": self.split, "query": self.query}

    def add_train(
        self, encode: Encode, embedding: Embedding, labels: Tensor, ids: list[str]
    ) -> tuple[Embedding, Tensor, list[str]]:
        """Appends the training split as the published code ran over it: shuffled, without the last, smaller batch."""
        dataset = build_dataset(self.cfg, "train", shots=None)
        kept = len(dataset) // self.batch_size * self.batch_size
        if not kept:
            return embedding, labels, ids
        rows = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(self.cfg["seed"]))[:kept]
        more = encode_dataset(encode, torch.utils.data.Subset(dataset, rows.tolist()), self.batch_size)
        pairs = zip(embedding, more[0], strict=True)
        joined = Embedding(*(None if one is None else torch.cat([one, two]) for one, two in pairs))
        return joined, torch.cat([labels, more[1]]), ids + more[2]

    def forward_student(self, embedding: Embedding) -> Tensor:
        """(n, D): the queries in the prompts' space."""
        parts = {"text": embedding.text, "image": embedding.image}
        needed = ("text", "image") if self.query == "both" else (self.query,)
        for name in needed:
            if parts[name] is None:
                raise InputError(
                    f"this network has no projection of the {name} query; it was trained without that teacher"
                )
        return parts["image"] + self.ratio * parts["text"] if self.query == "both" else parts[self.query]


def class_embeddings(prompts: Tensor, is_centered: bool, is_summed: bool = False) -> Tensor:
    """One direction a class: (C, Q, D) -> (C, D) of unit length.

    Args:
        prompts: the text teacher's features.
        is_centered: subtract the mean over all classes, for students trained on centred features.
        is_summed: long features count more: they are added as they are, as published.
    """
    classes = (prompts if is_summed else F.normalize(prompts, dim=-1)).mean(dim=1)
    if is_centered:
        classes = classes - classes.mean(dim=0)
    return F.normalize(classes, dim=-1)
