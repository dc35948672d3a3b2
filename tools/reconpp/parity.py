"""Compares ReCon++ with numbers that the published implementation computed, kept in a fixture folder.

What the folder does not have is not compared. Networks run in float64, so that our own rounding does not count, but for
the zero-shot embedding, which is what is used. What is chosen, such as centres, is compared exactly.

Shape legend: B batch, G groups, K points per group, C channels, Q queries.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.extensions import ops
from pointrecon.models.blocks.batch_norm import use_plain_statistics
from pointrecon.models.losses.chamfer import Chamfer, color_loss
from pointrecon.models.losses.distillation import match
from pointrecon.models.published.reconpp import from_published_reconpp, from_vit, to_published_reconpp
from pointrecon.models.reconpp.classifier import ReConPPClassifier
from pointrecon.models.reconpp.encoder import CAUSAL
from pointrecon.models.reconpp.network import STEPS, ReConPP, hidden_patches
from pointrecon.models.reconpp.order import CausalSplit, chain_directions, chain_order, sine_positions, triangle
from pointrecon.models.reconpp.patches import LargePointNet
from pointrecon.tools.checkpoints.parity import Comparison
from pointrecon.tools.reconpp.fixture import (
    EXACT,
    NAMES,
    TOLERANCE,
    Fixture,
    gradients_of,
    largest_difference,
    variants_of,
)
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json

LOGITS_TOLERANCE, LARGE_TOLERANCE = 3e-5, 2e-5  # absolute
LARGE_SEED = 7000  # of the made weights of the large embedding, plus the number of the tensor
NO_RESULT = ("points", "img", "text", "mask", "param_names", "labels", "class_text", "keys", "patches", "nograd")


def is_reconpp_fixture(folder: str | Path) -> bool:
    """Whether a folder's config.json is of this kind: sections that say how patches are masked."""
    path = Path(folder) / "config.json"
    return bool(variants_of(read_json(path))) if path.is_file() else False


def compare_reconpp(folder: str | Path) -> tuple[list[Comparison], list[str]]:
    """Everything that the fixture has.

    Returns:
        The comparisons, and names of results that none of them is about.

    Raises:
        InputError: a file is missing or damaged, lacks something, or the fixture holds nothing to compare.
    """
    return Parity(Path(folder)).compare()


class Parity(Fixture):
    """Compares all that a fixture has."""

    def compare(self) -> tuple[list[Comparison], list[str]]:
        """All parts; see `compare_reconpp`."""
        for variant in variants_of(self.config):
            self.compare_patches(variant)
            self.compare_zero_shot(variant)
            for mode in ("eval", "train"):
                self.compare_forward(variant, mode)
            self.compare_gradients(variant)
        is_causal = any(self.config[name]["mask_type"] == CAUSAL for name in variants_of(self.config))
        if is_causal and (self.folder / "cls_head.pth").is_file():
            self.compare_classifier(self.find_classified())
        self.compare_large()
        self.compare_init()
        if not self.done:
            raise InputError(f"'{self.folder / 'expected.npz'}' holds nothing to compare")
        names = {item.name for item in self.done} | self.explained
        return self.done, [x for x in self.expected if x not in names and x.rpartition(".")[2] not in NO_RESULT]

    def find_classified(self) -> str:
        """The causal variant that the classifier is of: as wide, with a label for each cloud; `causal` first."""
        width = self.read_state("cls_head.pth").get("cls_token", torch.empty(0)).shape[-1]
        count = len(self.expected.get("cls.labels", ()))
        fitting = [
            name
            for name in variants_of(self.config)
            if self.config[name]["mask_type"] == CAUSAL
            and self.make(name).encoder.embed_dim == width
            and count in (0, len(self.expected[f"{name}.points"]))
        ]
        if not fitting:
            raise InputError(
                f"'{self.folder / 'cls_head.pth'}' is {width} wide, with {count} labels, which is the classifier of "
                "none of the fixture's causal variants"
            )
        return CAUSAL if CAUSAL in fitting else fitting[0]

    @torch.no_grad()
    def compare_patches(self, variant: str) -> None:
        """Centres, patches, their order and positions."""
        network, points = self.make(variant), self.read(f"{variant}.points")
        encoder = network.encoder
        picked = ops.fps(points[..., :3], encoder.group.num_groups)
        self.check_exactly(f"{variant}.fps", picked)
        self.check_exactly(f"{variant}.order", chain_order(ops.gather(points[..., :3], picked)))
        patches, centers = encoder.group(points)
        self.check(f"{variant}.center", centers)
        self.check(f"{variant}.patch_sum", patches.sum(dim=2))
        centers = centers.double()
        if encoder.is_causal:
            positions = [sine_positions(x, encoder.embed_dim) for x in (centers, chain_directions(centers))]
        else:
            positions = [encoder.pos_embed(centers), network.decoder.pos_embed(centers)]
        for name, ours in zip(("pos", "decoder_pos"), positions, strict=True):
            self.check(f"{variant}.{name}", ours)

    @torch.no_grad()
    def compare_zero_shot(self, variant: str) -> None:
        """What recognition reads, in float32."""
        network, points = self.make(variant, dtype=torch.float32), self.read(f"{variant}.points")
        queries, tokens = network.encoder.embed(points)
        embedding = network.embed(points)
        prefix = f"{variant}.zeroshot"
        self.check(f"{prefix}.local", tokens)
        self.check(f"{prefix}.global", queries)
        self.check(f"{prefix}.embedding", embedding)
        if f"{prefix}.class_text" in self.expected:
            self.check(f"{prefix}.logits", embedding @ F.normalize(self.read(f"{prefix}.class_text"), dim=-1).T)

    @torch.no_grad()
    def compare_forward(self, variant: str, mode: str) -> None:
        """Tokens, blocks, queries, reconstruction, pairs and losses, and running statistics after it."""
        prefix, network = f"{variant}.{mode}", self.make(variant, mode)
        patches, centers = (x.double() for x in network.encoder.group(self.read(f"{variant}.points")))
        self.check(f"{prefix}.tokens", self.make(variant, mode).encoder.patch_embed(patches))
        split, seen = self.split(variant), {}

        def keep(name: str, part: Callable[[Any], Tensor]) -> Callable[..., None]:
            return lambda _module, _inputs, output: seen.update({name: part(output)})

        for number, block in enumerate(network.encoder.blocks):
            block.register_forward_hook(keep(f"global.{number}", lambda output: output[0]))
            block.register_forward_hook(keep(f"local.{number}", lambda output: output[1]))
        for number, block in enumerate(network.decoder.blocks):
            block.register_forward_hook(keep(f"decoder.{number}", lambda output: output))
        queries, tokens = network.encoder(patches, centers, split)
        rebuilt = network.decoder(tokens, centers, split)
        for name, value in seen.items():
            self._check_last_rows(f"{prefix}.{name}", value)
        self.check(f"{prefix}.encoder.local", tokens)
        self.check(f"{prefix}.encoder.global", queries)
        self.check(f"{prefix}.rebuilt", rebuilt.flatten(0, 1))
        hidden = hidden_patches(patches, split)
        self._check_losses(variant, prefix, network, rebuilt, hidden, queries)
        statistics = to_published_reconpp(network.state_dict())
        for name in statistics:
            self.check(f"{prefix}.bn.{name}", statistics[name])

    def _check_last_rows(self, name: str, value: Tensor) -> None:
        """Of the decoder's last block, what becomes of visible tokens is not computed here."""
        if name in self.expected and ".decoder." in name:
            wanted = self.expected[name][:, -value.shape[1] :]
            self.done.append(Comparison(name, largest_difference(value, wanted), TOLERANCE))
        else:
            self.check(name, value)

    def _check_losses(
        self, variant: str, prefix: str, network: ReConPP, rebuilt: Tensor, hidden: Tensor, queries: Tensor
    ) -> None:
        for name, norm in (("cd_l1", "l1"), ("cd_l2", "l2")):
            self.check(f"{prefix}.loss.{name}", Chamfer(norm)(rebuilt[..., :3], hidden[..., :3]))
        has_colors = rebuilt.shape[-1] > 3
        color = color_loss(rebuilt.flatten(0, 1), hidden.flatten(0, 1)) if has_colors else rebuilt.new_zeros(())
        self.check(f"{prefix}.loss.color", color)
        targets = self.targets(variant)
        terms = network.forward_queries(queries, targets)
        for name, student in network.project(queries).items():
            published, student = NAMES[name], F.normalize(student if student.dim() == 3 else student[:, None], dim=-1)
            wanted = self.expected.get(f"{prefix}.{published}_token64")
            if wanted is not None:
                self.check(f"{prefix}.{published}_token64", student[..., : wanted.shape[-1]])
            mask = targets[f"{name}_mask"]
            chosen = match(student, F.normalize(targets[name], dim=-1), mask)
            place = (mask.cumsum(dim=1) - 1).gather(1, chosen.clamp(min=0))  # among the rows that are no padding
            self.check_exactly(f"{prefix}.match.{published}", torch.where(chosen < 0, chosen, place))
            self.check(f"{prefix}.loss.{published}", terms[name])
        sums = {"reconstruct": sum(network.forward_rebuilt(rebuilt, hidden).values()), "contrast": sum(terms.values())}
        for name, value in (sums | {"all": sum(sums.values())}).items():
            self.check(f"{prefix}.loss.{name}", torch.as_tensor(value))

    def compare_gradients(self, variant: str) -> None:
        """Gradients of one training step of each kind."""
        prefix = f"{variant}.train"
        for step in STEPS:
            if step != "all" and f"{prefix}.gradnorm.{step}" not in self.expected:
                continue
            network = self.make(variant, "train")
            network.step = step
            # Centres are chosen in float32, as published.
            patches, centers = (x.double() for x in network.encoder.group(self.read(f"{variant}.points")))
            network.encoder.group.forward = lambda _, cut=(patches, centers): cut  # type: ignore[method-assign, misc]
            terms = network(patches, self.targets(variant), split=self.split(variant))
            sum(terms.values()).backward()
            gradients = gradients_of(network)
            self.check_norms(f"{prefix}.gradnorm.{step}", f"{variant}.param_names", gradients)
            if step == "all":
                self.check_gradients(prefix, gradients)

    def compare_classifier(self, variant: str) -> None:
        """The classifier on the clouds of the causal variant, loaded as published, and its gradients."""
        whole, head = self.read_state(f"{variant}.pth"), from_published_reconpp(self.read_state("cls_head.pth"))
        points = self.read(f"{variant}.points")
        for mode in ("eval", "train"):
            base, prefix = self.make(variant, mode), f"cls.{mode}"
            base.encoder.stop_grad = False
            num_classes = len(head["head.8.weight"])
            network = ReConPPClassifier(base.encoder, num_classes, dropout=0.0, decoder=base.decoder)
            network.load_state_dict({key: x.double() for key, x in head.items()}, strict=False)
            network = cast(ReConPPClassifier, use_plain_statistics(network))
            network.double().train(mode == "train")
            if mode == "eval":
                self._compare_keys(network, whole)
            patches, centers = (x.double() for x in network.encoder.group(points))
            queries, tokens = network.encoder(patches, centers, extra=network.cls_token)
            self.check(f"{prefix}.local", tokens)
            self.check(f"{prefix}.global", queries)
            feature = network.pool(queries, tokens)
            self.check(f"{prefix}.feature", feature)
            logits = network.head(feature)
            self.check(f"{prefix}.logits", logits, LOGITS_TOLERANCE if mode == "train" else TOLERANCE)
            split = CausalSplit(triangle(patches.shape[1], patches.device), len(patches))
            self.check(f"{prefix}.rebuilt", network.decoder(tokens, centers, split).flatten(0, 1))  # type: ignore[misc]
            rebuilt = sum(network.forward_rebuilt(patches, centers, tokens).values())
            entropy = F.cross_entropy(logits, self.read("cls.labels"))
            self.check(f"{prefix}.cd", torch.as_tensor(rebuilt / network.chamfer.weight))
            self.check(f"{prefix}.ce", entropy)
            total = entropy + rebuilt
            self.check(f"{prefix}.total", total)
            total.backward()
            self.check_norms(f"{prefix}.gradnorm", "cls.param_names", gradients_of(network))

    def _compare_keys(self, network: nn.Module, whole: Mapping[str, Tensor]) -> None:
        """What the published load of a pretraining file finds missing and over."""
        wanted = {key for key in to_published_reconpp(network.state_dict()) if not key.endswith("num_batches_tracked")}
        for name, ours in (("cls.missing", wanted - set(whole)), ("cls.unexpected", set(whole) - wanted)):
            if name in self.expected:
                listed = {key for key in ours if not key.endswith("num_batches_tracked")}
                count = len(listed ^ {str(key) for key in self.expected[name]})
                self.done.append(Comparison(name, float(count), EXACT))

    @torch.no_grad()
    def compare_large(self) -> None:
        """The large patch embedding, whose weights are made."""
        if "large.patches" not in self.expected:
            return
        patches = self.read("large.patches").double()
        for mode in ("eval", "train"):
            if f"large.{mode}" in self.expected:
                network = LargePointNet(self.expected[f"large.{mode}"].shape[-1], patches.shape[-1])
                names = sorted(str(key) for key in self.expected["large.keys"])
                published = {f"embed.{key}": key for key in names}
                shapes = to_published_reconpp({f"encoder.patch_embed.{k}": x for k, x in network.state_dict().items()})
                made = {key: _made(names.index(published[key]), key, shapes[key]) for key in published}
                ours = from_published_reconpp(made)
                network.load_state_dict({key.removeprefix("encoder.patch_embed."): x for key, x in ours.items()})
                network = cast(LargePointNet, use_plain_statistics(network)).double().train(mode == "train")
                self.check(f"large.{mode}", network(patches), LARGE_TOLERANCE if mode == "train" else TOLERANCE)

    def compare_init(self) -> None:
        """What a query block starts from."""
        for name in self.expected:
            if name.startswith("init2d.vit."):
                self.explained.add(name)
                for key, ours in from_vit({f"blocks.{name.removeprefix('init2d.vit.')}": self.read(name)}).items():
                    published = next(iter(to_published_reconpp({key: ours})))
                    inner = published.removeprefix("encoder.blocks.global_blocks.")
                    self.check(f"init2d.global.{inner}", ours)


def _made(number: int, key: str, like: Tensor) -> Tensor:
    """The made weight of that number and name."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    random = np.random.RandomState(LARGE_SEED + number).standard_normal(tuple(like.shape)).astype(np.float32)
    z = torch.from_numpy(random)
    if key.endswith("running_var"):
        return 0.5 + z * z
    if key.endswith(("running_mean", "bias")):
        return 0.1 * z
    return z / like.shape[1] ** 0.5 if like.dim() == 3 else 1 + 0.1 * z
