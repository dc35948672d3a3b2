"""Passes that are recorded and replayed are those that are run as they are."""

import contextlib
import json
import logging
from types import SimpleNamespace

import pytest
import torch
from bench_train import make_case
from torch import nn

from pointrecon.tools.tasks.pretrain import PretrainTask
from pointrecon.tools.training import passes
from pointrecon.tools.training.passes import NUM_PLAIN, Passes, RecordedPasses, make_passes
from pointrecon.tools.training.runner import Runner
from pointrecon.utils.errors import InputError

SMALL = ["model.embed_dim=24", "model.depth=2", "model.num_heads=2", "model.patch_width=16", "model.num_groups=16"]
SMALL += ["model.group_size=8", "data.num_points=64", "batch_size=8", "model.drop_path=0.3"]
PRETRAIN = ("cfgs/pretrain/base.yaml", "model.decoder_num_heads=2", "model.decoder_depth=1")
CLASSIFY = ("cfgs/full/finetune_scan_hardest.yaml",)


class LineTask:
    """Fits a line; the `generator` is not used."""

    def __init__(self):
        self.model = self.network = nn.Linear(1, 1)
        self.generator = torch.Generator()

    def prepare(self, batch):
        return batch["points"], None

    def compute_loss(self, points, nothing):
        assert nothing is None
        loss = self.network(points).square().mean()
        return loss, {"loss": loss.detach()}

    def training_step(self, batch):
        return self.compute_loss(*self.prepare(batch))


class FakeRecording:
    """Computes when it is replayed, from inputs that it keeps."""

    def __init__(self, compute, inputs, parameters, generator, stream):
        assert all(parameter.grad is None for parameter in parameters)
        self.kind, self.compute, self.num_replays = passes._kind_of(inputs), compute, 0

    def replay(self, inputs):
        self.num_replays += 1
        return self.compute(inputs)


@pytest.fixture
def on_a_fake_gpu(monkeypatch):
    monkeypatch.setattr(passes, "_Recording", FakeRecording)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: SimpleNamespace(wait_stream=lambda other: None))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(wait_stream=lambda other: None))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    mode = {"now": "default"}
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda new: mode.update(now=new))
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: mode["now"])
    monkeypatch.setattr(torch.cuda, "default_generators", {None: torch.Generator()})
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)


def batch_of(size):
    return {"points": torch.arange(float(size)).unsqueeze(1)}


def run_all(own_passes, task, batches):
    losses, grads = [], []
    for batch in batches:
        loss, report = own_passes.run(batch)
        assert report["loss"] == loss and not loss.requires_grad
        losses.append(loss.item())
        grads.append(task.model.weight.grad.clone())
        task.model.zero_grad(set_to_none=True)
    return losses, grads


def test_whole_batches_are_replayed_and_others_run_as_they_are(on_a_fake_gpu):
    task, batches = LineTask(), [batch_of(size) for size in (4, 4, 3, 4, 4, 4, 3, 4)]
    recorded = RecordedPasses(task, contextlib.nullcontext, SimpleNamespace(device="cuda", logger=None, batch_size=4))
    actual = run_all(recorded, task, batches)
    assert recorded.recording.num_replays == 6 - NUM_PLAIN
    assert actual == run_all(Passes(task, contextlib.nullcontext), task, batches)


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4, 3, 4, 3), (3, 4, 4, 3, 4, 3, 4), (3, 4) * 4], ids=str)
def test_a_smaller_batch_is_neither_compiled_nor_recorded(on_a_fake_gpu, sizes):
    task, compiled_for = LineTask(), []
    task.network = lambda points: (compiled_for.append(len(points)), task.model(points))[1]  # as if it were compiled
    compiled = task.network
    recorded = RecordedPasses(task, contextlib.nullcontext, SimpleNamespace(device="cuda", logger=None, batch_size=4))
    run_all(recorded, task, [batch_of(size) for size in sizes])
    assert set(compiled_for) == {4} and task.network is compiled
    assert recorded.recording.num_replays == sizes.count(4) - NUM_PLAIN


def test_what_waits_for_the_gpu_is_found_before_the_recording_and_runs_as_it_is(on_a_fake_gpu, caplog):
    class WaitingTask(LineTask):
        def compute_loss(self, points, nothing):
            if torch.cuda.get_sync_debug_mode() == "error":
                self.model.weight.grad = torch.ones(1, 1)
                self.generator.manual_seed(5)
                raise RuntimeError("called a synchronizing CUDA operation")
            return super().compute_loss(points, nothing)

    task, batches = WaitingTask(), [batch_of(4)] * 6
    state = task.generator.get_state()
    ctx = SimpleNamespace(device="cuda", logger=logging.getLogger("passes"), batch_size=4)
    recorded = RecordedPasses(task, contextlib.nullcontext, ctx)
    actual = run_all(recorded, task, batches)
    assert recorded.recording is None and actual == run_all(Passes(task, contextlib.nullcontext), task, batches)
    assert caplog.text.count("not recorded") == 1 and torch.equal(task.generator.get_state(), state)


def test_another_mistake_on_the_way_is_not_taken_for_a_wait(on_a_fake_gpu, monkeypatch):
    task = LineTask()
    recorded = RecordedPasses(task, contextlib.nullcontext, SimpleNamespace(device="cuda", logger=None, batch_size=4))
    run_all(recorded, task, [batch_of(4)] * (NUM_PLAIN - 1))
    monkeypatch.setattr(task, "compute_loss", lambda *_: torch.empty(2) @ torch.empty(3))
    with pytest.raises(RuntimeError, match="size"):
        recorded.run(batch_of(4))


def test_a_recording_that_fails_ends_the_run(on_a_fake_gpu, monkeypatch):
    def refuse(*_):
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be ...")

    monkeypatch.setattr(passes, "_Recording", refuse)
    task = LineTask()
    recorded = RecordedPasses(task, contextlib.nullcontext, SimpleNamespace(device="cuda", logger=None, batch_size=4))
    with pytest.raises(InputError, match="stream is capturing CUDA kernel .*cuda_graph=false"):
        run_all(recorded, task, [batch_of(4)] * 6)


@pytest.mark.parametrize(
    "changes",
    [{"device": "cpu"}, {"cuda_graph": False}, {"world_size": 2}, {"accum_steps": 2}, {"checkpoint_blocks": True}],
    ids=str,
)
def test_where_nothing_is_recorded(on_a_fake_gpu, monkeypatch, changes):
    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", lambda network, **_: network)
    given = {"device": "cuda", "cuda_graph": True, "world_size": 1, "accum_steps": 1} | changes
    ctx = SimpleNamespace(
        device=torch.device(given["device"], 0), world_size=given["world_size"], batch_size=4, logger=None
    )
    cfg = {"sync_bn": False, "compile": False, "precision": "fp32", "accum_cached": False, "checkpoint_blocks": False}
    assert type(make_passes(LineTask(), {**cfg, **given}, ctx)) is Passes


def run_case(tmp_path, config, *overrides, num_steps=NUM_PLAIN + 4):
    case = make_case(config, [*SMALL, *overrides, "device=cuda"], tmp_path, is_own_data=False)
    losses = []
    case.progress.update = lambda num_shapes, loss, lr: losses.append(float(loss))
    for _ in range(num_steps):
        case.step()
    case.runner.ctx.metrics.close()
    return case.runner, losses, {name: value.clone() for name, value in case.runner.task.model.state_dict().items()}


def assert_same_steps(recorded, plain, tolerance):
    _, losses, state = recorded
    _, plain_losses, plain_state = plain
    assert losses == pytest.approx(plain_losses, rel=tolerance) and len(set(losses)) == len(losses)
    for name, value in state.items():
        assert torch.allclose(value, plain_state[name], rtol=tolerance, atol=1e-3), name


@pytest.mark.gpu
@pytest.mark.parametrize("case", [PRETRAIN, CLASSIFY], ids=lambda case: case[0])
@pytest.mark.parametrize("options", [[], ["compile=true"], ["precision=bf16"], ["data.device_resident=true"]], ids=str)
def test_recorded_steps_are_plain_steps(tmp_path, case, options):
    """What is drawn, dropped, masked and learned is the same; products in half precision may add up differently."""
    recorded = run_case(tmp_path / "recorded", *case, *options)
    assert type(recorded[0].passes) is RecordedPasses and recorded[0].passes.recording is not None
    plain = run_case(tmp_path / "plain", *case, *options, "cuda_graph=false")
    assert_same_steps(recorded, plain, 2e-2 if "precision=bf16" in options else 1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "case",
    [
        ("cfgs/pretrain/twotower.yaml", "model.decoder_num_heads=2", "model.decoder_depth=1"),
        (*CLASSIFY, "classifier.freeze=backbone"),
        (*CLASSIFY, "classifier.freeze=backbone", "protocol=published"),
        (*PRETRAIN, "protocol=published"),
    ],
    ids=str,
)
def test_recorded_steps_of_other_networks_and_habits(tmp_path, case):
    recorded = run_case(tmp_path / "recorded", *case)
    assert recorded[0].passes.recording is not None
    assert_same_steps(recorded, run_case(tmp_path / "plain", *case, "cuda_graph=false"), 1e-3)


@pytest.mark.gpu
def test_a_step_that_waits_for_the_gpu_still_trains(tmp_path, monkeypatch):
    original = PretrainTask.compute_loss

    def compute_loss(self, *inputs):
        loss, report = original(self, *inputs)
        return loss * (1.0 if loss.item() else 0.0), report

    monkeypatch.setattr(PretrainTask, "compute_loss", compute_loss)
    waiting = run_case(tmp_path / "waiting", *PRETRAIN)
    assert waiting[0].passes.recording is None
    monkeypatch.undo()
    assert_same_steps(waiting, run_case(tmp_path / "plain", *PRETRAIN, "cuda_graph=false"), 1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("batch_size", [8, 7], ids=["whole", "smaller last"])
def test_whole_runs_with_smaller_last_batches(launch, batch_size):
    losses = []
    for name in ("true", "false"):
        options = ("device=cuda", f"batch_size={batch_size}", "epochs=3", f"cuda_graph={name}")
        code, folder = launch(*options, name=name)
        assert code == 0
        losses.append([record["loss"] for record in read_records(folder) if record["split"] == "train"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and len(losses[0]) == 3


@pytest.mark.gpu
def test_a_run_that_goes_on_is_recorded_anew(launch, monkeypatch):
    options = ("device=cuda", "epochs=3")
    _, whole = launch(*options, name="whole")
    train_step = Runner.train_step

    def stop_in_the_second_epoch(self, *arguments):
        train_step(self, *arguments)
        self.signals.must_stop = self.signals.must_save = self.state.step == self.steps_per_epoch + 5

    monkeypatch.setattr(Runner, "train_step", stop_in_the_second_epoch)
    with pytest.raises(SystemExit):
        launch(*options, name="parts")
    monkeypatch.undo()
    code, parts = launch(*options, "--resume", name="parts")
    assert code == 0
    losses = [
        [record["loss"] for record in read_records(folder) if record["split"] == "train"] for folder in (whole, parts)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and len(losses[0]) == 3


def read_records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
