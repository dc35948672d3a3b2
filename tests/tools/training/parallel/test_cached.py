"""Cached gradients: the gradient of a step in several batches is that of one batch with all samples."""

import contextlib
import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.losses import DISTILLATIONS
from pointrecon.models.losses.contrast import Contrast
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.patches.masking import Split
from pointrecon.models.recon import ReCon
from pointrecon.models.reconpp.decoder import ReConPPDecoder
from pointrecon.models.reconpp.encoder import ReConPPEncoder
from pointrecon.models.reconpp.network import ReConPP
from pointrecon.tools.training.parallel import cached
from pointrecon.tools.training.parallel.cached import CachedPasses
from pointrecon.tools.training.parallel.wrap import Staged, checkpoint_blocks
from pointrecon.tools.training.passes import Passes
from pointrecon.utils.errors import InputError

CFG = {"task": "pretrain", "compile": False, "parallel": "ddp", "protocol": "sound"}
SIZES = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_groups": 8, "group_size": 4, "patch_width": 16}
LOSSES = ("infonce", "siglip", "multi_infonce", "decoupled", "matched")


class PairTask:
    """Pretrains on batches of clouds and features that are ready; what is drawn is drawn in the network alone."""

    def __init__(self, model):
        self.model = self.trained = model.double()
        self.network = Staged(model)
        self.generator = torch.Generator().manual_seed(3)
        self.target_names = ("image", "image_mask", "text")

    def prepare(self, batch):
        return batch["inputs"]

    def compute_loss(self, points, labels, *targets):
        named = dict(zip(self.target_names, targets, strict=True))
        terms = self.network(points, named, labels=labels, generator=self.generator)
        return sum(terms.values()), {name: term.detach() for name, term in terms.items()}

    def training_step(self, batch):
        return self.compute_loss(*self.prepare(batch))


def make_model(kind, loss, drop_path=0.0):
    torch.manual_seed(0)
    learn = {"learn_temperature": True} if loss not in ("matched",) else {}
    teachers = {"image": Distillation(6, DISTILLATIONS.get(loss), **learn), "text": Distillation(5)}
    options = {"mask_ratio": 0.5, "teachers": teachers}
    counts = {"cls": 1, "image": 2, "text": 1}
    if kind == "recon":
        encoder = PointEncoder(**SIZES, queries=counts, drop_path=drop_path, stop_grad=False)
        return ReCon(encoder, MaskedDecoder(16, 1, 2, 4, drop_path=drop_path), contrast=Contrast(0.5), **options)
    encoder = ReConPPEncoder(**SIZES, queries=counts, drop_path=drop_path)
    return ReConPP(encoder, ReConPPDecoder(16, 1, 2, 4, drop_path=drop_path), step="contrast", **options)


@pytest.fixture
def batches():
    """Three batches of 4, 4 and 2 samples with two image targets each, of which some are missing."""
    draw = torch.Generator().manual_seed(1)
    made = []
    for size in (4, 4, 2):
        points = torch.rand(size, 32, 3, generator=draw, dtype=torch.float64)
        mask = torch.rand(size, 2, generator=draw) < 0.7
        features = [torch.randn(size, *shape, generator=draw, dtype=torch.float64) for shape in ((2, 6), (5,))]
        made.append({"points": points, "inputs": (points, torch.arange(size) % 3 - 1, features[0], mask, features[1])})
    return made


def as_one(batches):
    """The same samples in one batch; unlabelled ones have labels of their own there."""
    columns = [torch.cat(column) for column in zip(*(batch["inputs"] for batch in batches), strict=True)]
    columns[1] = torch.where(columns[1] < 0, -1 - torch.arange(len(columns[1])), columns[1])
    return {"points": columns[0], "inputs": tuple(columns)}


def each_its_own(batches):
    """As the task labels them: objects of no class differ within a batch."""
    for batch in batches:
        points, labels, *rest = batch["inputs"]
        labels = torch.where(labels < 0, -1 - torch.arange(len(labels)), labels)
        batch["inputs"] = (points, labels, *rest)
    return batches


def split_by_height(centers, count):
    """The same patches of a sample are hidden whatever the batch."""
    order = centers[..., 1].argsort(dim=1)
    return Split(order[:, count:].sort(dim=1).values, order[:, :count].sort(dim=1).values)


def grads(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def run(passes_class, task, batches, *options):
    total = sum(len(batch["points"]) for batch in batches)
    shares = [len(batch["points"]) / total for batch in batches]
    passes = passes_class(task, contextlib.nullcontext, *options)
    torch.manual_seed(7)
    return passes.run_all(batches, shares), grads(task.model)


@pytest.mark.parametrize("kind", ["recon", "reconpp"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_that_of_one_batch(batches, kind, loss):
    together = PairTask(make_model(kind, loss))
    together.model.encoder.patch_embed.eval()  # a batch-norm's statistics are those of the batch at hand
    together.model.draw_mask = lambda centers, count, _: split_by_height(centers, count)
    one = PairTask(copy.deepcopy(together.model))
    (_, wanted) = run(Passes, one, [as_one(batches)])
    losses, actual = run(CachedPasses, together, each_its_own(batches), CFG)
    assert set(actual) == set(wanted) and any("_scale" in name for name in actual) == (loss != "matched")
    for name, grad in actual.items():
        torch.testing.assert_close(grad, wanted[name], rtol=1e-6, atol=1e-9, msg=name)
    # What plain accumulation does is something else, or this would say nothing.
    plain = PairTask(copy.deepcopy(one.model))
    plain.model.zero_grad()
    _, other = run(Passes, plain, batches)
    if loss != "matched" or kind == "recon":
        assert any(not torch.allclose(other[name], grad, rtol=1e-3) for name, grad in wanted.items())
    assert all(isinstance(report["loss"], Tensor) and not loss.requires_grad for loss, report in losses)


@pytest.mark.parametrize("kind", ["recon", "reconpp"])
def test_both_passes_draw_alike_and_norms_move_once(batches, kind):
    """Queries of the two passes are the same bits, those of two batches are not, and running statistics move once."""
    task = PairTask(make_model(kind, "infonce", drop_path=0.4))
    seen = {"queries": [], "again": []}
    forward_parts = task.model.forward_parts

    def note(points, is_query_only=False, **options):
        queries, terms = forward_parts(points, is_query_only=is_query_only, **options)
        seen["queries" if is_query_only else "again"].append(queries.detach().clone())
        return queries, terms

    task.model.forward_parts = note
    before = {name: value.clone() for name, value in task.model.named_buffers()}
    run(CachedPasses, task, each_its_own(batches), CFG)
    assert len(seen["queries"]) == len(seen["again"]) == 3
    for first, second in zip(seen["queries"], seen["again"], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(seen["again"][0][:2], seen["again"][1][:2])
    counts = [
        value - before[name]
        for name, value in task.model.named_buffers()
        if name.endswith("num_batches_tracked") and name.startswith("encoder")
    ]
    assert counts and all(count == 3 for count in counts)


def test_what_cannot_be_exact_is_refused(monkeypatch):
    task = PairTask(make_model("recon", "infonce"))
    for change, message in (({"compile": True}, "compile is on"), ({"task": "classify"}, "has no forward_parts")):
        with pytest.raises(InputError, match=message):
            CachedPasses(task, contextlib.nullcontext, {**CFG, **change})
    monkeypatch.setattr(cached, "has_quirk", lambda cfg, name: name == "undivided_accumulation")
    with pytest.raises(InputError, match="undivided"):
        CachedPasses(task, contextlib.nullcontext, CFG)
    with pytest.raises(InputError, match="Linear"):
        CachedPasses(SimpleNamespace(model=torch.nn.Linear(1, 1)), contextlib.nullcontext, CFG)


@pytest.mark.parametrize("kind", ["recon", "reconpp"])
def test_blocks_that_are_computed_again_give_the_same_gradient(batches, kind):
    plain = PairTask(make_model(kind, "infonce", drop_path=0.4))
    again = PairTask(copy.deepcopy(plain.model))
    checkpoint_blocks(again.model)
    calls = []
    for block in again.model.encoder.blocks:
        block.register_forward_hook(lambda *_: calls.append(1))
    first = next(m for m in again.model.encoder.blocks[0].modules() if isinstance(m, torch.nn.Linear))
    first.register_forward_hook(lambda *_: calls.append(2))
    (_, wanted), (_, actual) = run(Passes, plain, batches), run(Passes, again, batches)
    assert all(torch.equal(grad, wanted[name]) for name, grad in actual.items()) and actual.keys() == wanted.keys()
    assert calls.count(1) == 2 * 3 and calls.count(2) == 2 * calls.count(1) // 2  # each layer twice a batch
    assert plain.model.state_dict().keys() == again.model.state_dict().keys()
