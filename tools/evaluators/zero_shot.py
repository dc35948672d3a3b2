"""Zero-shot recognition: the class whose prompts are nearest to what the queries say.

Shape legend: n objects, C classes, Q prompts a class, D feature width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.accuracy import report_on, save_predictions
from pointrecon.tools.evaluators.base import Evaluator
from pointrecon.tools.evaluators.encoder import EmbeddedSplit, Embedding, SplitEncoder, SplitStore, join
from pointrecon.tools.open.class_features import read_class_features
from pointrecon.tools.open.name_bank import NameBank
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.settings import DataSettings, Settings, TeacherSettings
from pointrecon.tools.teachers.teachers import CACHED, class_prompts
from pointrecon.utils.config import check_part, merge
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import check_file

QUERIES = ("text", "image", "both")
TOPS = (3, 5)  # besides the best class alone


@EVALUATORS.register("zero_shot")
class ZeroShot(Evaluator):
    """Cosine between the projected query and each class's mean prompt embedding (ReCon, section 4.3).

    Classes have the features that come with the data set's files, if it has such, or the text teacher's.

    Args:
        cfg: the whole config.
        name: what the config calls it.
        store: gives the data sets.
        split: which split of the data set; the default never trains.
        query: `text` or `image` alone, or `both`: image + ratio * text, for teachers that share one space.
        ratio: weight of the text query in `both`.
        classes: file with the features of the classes, .npz with `names` and `features` (C, D).
        teacher: keys of `teachers.text` that are others here, such as the type of one that reads the classes' names,
            where training reads what comes with the samples.
        bank: a teacher cache of other shapes, such as those of pretraining: the names of those that the image query
            finds (`NameBank`) are compared with the classes, too.
        bank_ratio: weight of that comparison beside the query's own.
        bank_temperature: the smaller, the more the nearest shapes count.

    Raises:
        InputError: an option out of range, or data or features of classes that cannot be read.
    """

    def __init__(
        self,
        cfg: Settings,
        *,
        name: str,
        store: SplitStore,
        split: str = "test",
        query: str = "text",
        ratio: float = 1.0,
        classes: str | None = None,
        teacher: Mapping[str, Any] | None = None,
        bank: str | None = None,
        bank_ratio: float = 1.0,
        bank_temperature: float = 0.05,
    ) -> None:
        super().__init__(_with_teacher(cfg, name, teacher), name=name, store=store, split=split)
        check_choice(f"evaluators.{name}.query", query, QUERIES)
        self.check_number("ratio", ratio, least=0)
        self.check_number("bank_ratio", bank_ratio, least=0, above=True)
        self.check_number("bank_temperature", bank_temperature, least=0, above=True)
        self.query = query
        self.ratio, self.bank_ratio = ratio, bank_ratio
        self.batch_size = cfg["batch_size"]
        self.dataset = store.get(cfg, split)
        self.is_on_both = has_quirk(cfg, "train_and_test") and "train" in self.dataset.published_splits
        self.data: DataSettings = cfg["data"]
        if self.is_on_both:
            self.data = {**cfg["data"], "eval_sampling": "random"}
        text = self.cfg["teachers"]["text"]
        self.is_centered = text is not None and text["center"]
        self.prompts, self.source = self._find_prompts(classes, is_asked=teacher is not None)
        self.bank = None if bank is None else self._read_bank(self.check_path("bank", bank), bank_temperature)

    def _read_bank(self, path: Path, temperature: float) -> NameBank:
        image = self.cfg["teachers"]["image"]
        is_centered = image is not None and image["center"]
        options = {"image_centered": is_centered, "text_centered": self.is_centered}
        bank = NameBank(check_file(path, "bank of names"), temperature=temperature, **options)
        bank.check_apart(self.dataset.ids)
        return bank

    def _find_prompts(self, path: str | None, *, is_asked: bool) -> tuple[Tensor | None, str]:
        """(C, Q, D) and where they are from; None: the teacher is asked when the run starts."""
        if path is not None:
            rows = read_class_features(
                self.check_path("classes", path), self.dataset.class_names, type(self.dataset).__name__
            )
            return torch.from_numpy(rows).unsqueeze(1), path
        stored = getattr(self.dataset, "class_features", None)
        if stored is not None and not is_asked:
            return stored.unsqueeze(1), "stored"
        teacher, ways = self.cfg["teachers"]["text"], f"evaluators.{self.name}.classes=FILE.npz"
        if teacher is None:
            raise InputError(
                "zero-shot recognition needs the text teacher's prompts, but teachers.text is null; name one, or give "
                f"{ways}"
            )
        if teacher["type"] != CACHED:
            return None, teacher["type"]
        # A missing cache is found out before the run folder is there.
        try:
            return class_prompts(self.cfg, self.dataset), CACHED
        except InputError as error:
            raise InputError(f"{error}; or give {ways}, or evaluators.{self.name}.teacher.type") from error

    def check(self, embedded: EmbeddedSplit) -> None:
        """Raises InputError if the network has no such query, or one of another width than the prompts."""
        student = self.forward_student(embedded.embedding)
        if self.prompts is not None:
            self._check_width(student, self.prompts)
            self._compare_bank(embedded.embedding, class_embeddings(self.prompts, self.is_centered))

    def run(self, encoder: SplitEncoder, ctx: RunContext) -> dict[str, Any]:
        """Returns `accuracy`, `mean_class_accuracy`, `num_objects` and what was compared."""
        if self.prompts is None:
            self.prompts = class_prompts(self.cfg, self.dataset, ctx.device)
        is_summed = has_quirk(self.cfg, "summed_prompts")
        classes = class_embeddings(self.prompts, self.is_centered, is_summed)
        parts = [encoder.embed(self.dataset, self.data)]
        if self.is_on_both:
            train = self.store.get(self.cfg, "train")
            if rows := self.draw_rows(len(train)):
                parts.append(encoder.embed(train, self.data, rows=rows))
        embedding, self.labels, self.ids = join(parts)
        student = self.forward_student(embedding)
        self._check_width(student, classes)
        self.similarities = F.normalize(student, dim=-1) @ classes.T + self._compare_bank(embedding, classes)
        self.predictions = self.similarities.argmax(dim=1)
        report = report_on(self.dataset, self.predictions, self.labels)
        report |= {f"top{k}_accuracy": share for k, share in top_shares(self.similarities, self.labels).items()}
        split = "train and test" if self.is_on_both else self.split
        about = {"split": split, "query": self.query, "class_features": self.source}
        if self.bank is not None:
            about["bank"] = f"{self.bank.path} ({len(self.bank.ids)} shapes)"
        return report | {"num_classes": len(self.dataset.class_names), **about}

    def save(self, folder: Path) -> None:
        """Writes predictions-NAME.npz."""
        save_predictions(
            folder / f"predictions-{self.name}.npz",
            ids=self.ids,
            labels=self.labels,
            predictions=self.predictions,
            class_names=self.dataset.class_names,
            similarities=self.similarities,
        )

    def draw_rows(self, size: int) -> list[int]:
        """Rows of the training split as the published code ran over it: shuffled, without the last, smaller batch."""
        kept = size // self.batch_size * self.batch_size
        return torch.randperm(size, generator=torch.Generator().manual_seed(self.cfg["seed"]))[:kept].tolist()

    def _compare_bank(self, embedding: Embedding, classes: Tensor) -> Tensor | float:
        """(n, C): what the names that the image query finds add to the similarities; 0 without a bank."""
        if self.bank is None:
            return 0.0
        (queries,) = self._pick(embedding, ("image",))
        names = self.bank.find(queries)
        if names.shape[-1] != classes.shape[-1]:
            raise InputError(
                f"the names of '{self.bank.path}' have {names.shape[-1]} values, but the prompts of the classes "
                f"{classes.shape[-1]}; give a cache of the same text teacher"
            )
        return self.bank_ratio * (names @ classes.T)

    def _check_width(self, student: Tensor, prompts: Tensor) -> None:
        if student.shape[-1] != prompts.shape[-1]:
            raise InputError(
                f"the {self.query} query is projected to {student.shape[-1]} values, but the prompts have "
                f"{prompts.shape[-1]}; query '{self.query}' needs teachers that share one space, use query=text"
            )

    def forward_student(self, embedding: Embedding) -> Tensor:
        """(n, D): the queries in the prompts' space."""
        parts = self._pick(embedding, ("image", "text") if self.query == "both" else (self.query,))
        if self.query != "both":
            return parts[0]
        widths = [part.shape[-1] for part in parts]
        if widths[0] != widths[1]:
            raise InputError(
                f"the two queries are projected to {widths[0]} and {widths[1]} values, which cannot be added; "
                "query 'both' needs teachers that share one space, use query=text"
            )
        return parts[0] + self.ratio * parts[1]

    def _pick(self, embedding: Embedding, names: Sequence[str]) -> list[Tensor]:
        for name in names:
            if name not in embedding.projected:
                raise InputError(
                    f"this network has no projection of the {name} query; it was trained without that teacher"
                )
        parts = [embedding.projected[name] for name in names]
        # Of several queries of a name, the mean direction.
        return [F.normalize(part, dim=-1).mean(dim=1) if part.dim() == 3 else part for part in parts]


def top_shares(similarities: Tensor, labels: Tensor) -> dict[int, float]:
    """Share of objects whose class is among the best k: (n, C), (n,) -> by k, for those that leave classes out."""
    best = similarities.topk(min(max(TOPS), similarities.shape[1]), dim=1).indices == labels.unsqueeze(1)
    return {k: best[:, :k].any(dim=1).double().mean().item() for k in TOPS if k < similarities.shape[1]}


def _with_teacher(cfg: Settings, name: str, changes: Mapping[str, Any] | None) -> Settings:
    """The config with an evaluator's own keys of `teachers.text`."""
    text = cfg["teachers"]["text"]
    if changes is None:
        return cfg
    if not isinstance(changes, Mapping) or text is None:
        raise InputError(
            f"evaluators.{name}.teacher is {changes!r}, but must be a section with keys of teachers.text (not null)"
        )
    checked = check_part({"teachers": {"text": changes}}, f"evaluators.{name}")["teachers"]["text"]
    return {**cfg, "teachers": {**cfg["teachers"], "text": cast(TeacherSettings, merge(text, checked))}}


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
