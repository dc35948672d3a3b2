"""The loop: restore -> (train an epoch -> evaluate -> save)* -> evaluate."""

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from models.sync_norm import synchronize_norms
from tools import checkpoint
from tools.guards import TERMINATED, LossGuard, Signals
from tools.optim import CosineSchedule, PublishedSchedule, make_optimizer, move_cls_with_head
from tools.protocol import has_quirk, num_epochs, quirks, selection
from tools.snapshot import BEST, LAST, check_config, read_last, save_last
from tools.tasks.base import Task
from utils import distributed
from utils.config import to_plain
from utils.errors import InputError
from utils.io import write_json
from utils.log import Progress, format_seconds
from utils.meters import MeanMeter
from utils.seed import rng_state


def run(task: Task, cfg: Mapping[str, Any], ctx: Any) -> dict[str, Any]:
    """Runs a task to its end and returns what is in result.json."""
    runner = Runner(task, cfg, ctx)
    ctx.open_folder()  # only now: a run that cannot start leaves nothing behind
    if task.train_loader is not None and cfg["epochs"]:
        runner.train()
    return runner.finish()


@dataclass
class State:
    """How far a run is."""

    epoch: int = 0  # epochs done
    step: int = 0  # optimizer steps done
    best: float = -math.inf
    best_metrics: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Runner:
    """One run of one task.

    Args:
        task: what is trained and measured.
        cfg: the whole config.
        ctx: the run's surroundings.
    """

    def __init__(self, task: Task, cfg: Mapping[str, Any], ctx: Any) -> None:
        self.task, self.cfg, self.ctx = task, cfg, ctx
        self.state = State()
        self.optimizer: torch.optim.Optimizer | None = None
        self.epochs, self.select = num_epochs(cfg), selection(cfg)
        self.sums_losses, self.steps_twice = has_quirk(cfg, "undivided_accumulation"), has_quirk(cfg, "double_step")
        self.guard = LossGuard(cfg, ctx)
        self.start = time.monotonic()
        self.saved: dict[str, Any] | None = None
        if cfg["resume"] and cfg["epochs"] and task.train_loader is not None:
            self.saved = read_last(ctx.folder, ctx.logger)
            check_config(self.saved["config"], cfg, ctx.logger)

    def train(self) -> None:
        """restore -> (train an epoch -> evaluate -> save)*."""
        self.optimizer = self.make_optimizer()
        self.batches_per_epoch = len(self.task.train_loader)
        self.steps_per_epoch = math.ceil(self.batches_per_epoch / self.cfg["accum_steps"])
        schedule = PublishedSchedule if has_quirk(self.cfg, "epoch_schedule") else CosineSchedule
        self.schedule = schedule(self.cfg["optim"], self.steps_per_epoch, self.epochs)
        self.restore()
        self.prepare_network()
        self.describe()
        total = self.epochs * self.steps_per_epoch
        shown = Progress(
            total, self.ctx.logger, self.cfg["task"], self.state.step, self.cfg["log_every"], enabled=self.ctx.is_main
        )
        with shown as progress, Signals(self.ctx.is_main) as self.signals:
            while self.state.epoch < self.epochs:
                self.train_epoch(progress)
                self.validate()
                self.save_epoch()
        # The distributed version must be gone before the connection that it uses is.
        self.task.network = self.task.model
        distributed.barrier()

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer over the task's network, with the published head group where that is asked for."""
        options, is_published = self.cfg["optim"], has_quirk(self.cfg, "cls_in_head_group")
        optimizer = make_optimizer(self.task.model, options, decays_head=is_published)
        if is_published and self.cfg["model"]["type"] == "ReCon":
            move_cls_with_head(optimizer, self.task.model, options, self.cfg["classifier"]["freeze"] == "backbone")
        return optimizer

    def restore(self) -> None:
        """Goes on from the checkpoint that was found at the start, if the run is to be resumed."""
        content, self.saved = self.saved, None
        if content is None:
            return
        self.task.model.load_state_dict(content["base_model"])
        self.optimizer.load_state_dict(content["optimizer"])
        state = content["schedule"]
        self.state = State(
            content["epoch"],
            content["step"],
            state["best"],
            content["best_metrics"],
            content["metrics"],
            state["seconds"],
        )
        self.ctx.metrics.rewind(self.state.step)
        self.ctx.logger.info(f"resumed after epoch {self.state.epoch}, step {self.state.step}")

    def prepare_network(self) -> None:
        """Puts the compiled or distributed version of the model into the task."""
        network: nn.Module = self.task.model
        if self.cfg["sync_bn"] and self.ctx.world_size > 1:
            network = synchronize_norms(network)
        if self.ctx.world_size > 1:
            devices = [self.ctx.device.index] if self.ctx.device.type == "cuda" else None
            # With the contrastive loss or a teacher switched off, some parameters get no gradient.
            network = nn.parallel.DistributedDataParallel(network, device_ids=devices, find_unused_parameters=True)
        if self.cfg["compile"]:
            network = torch.compile(network)
        self.task.network = network

    def describe(self) -> None:
        """Says what is about to be trained."""
        parameters = [p for p in self.task.model.parameters() if p.requires_grad]
        self.ctx.logger.info(
            f"{self.cfg['task']}: {sum(p.numel() for p in parameters) / 1e6:.2f} M parameters to train, "
            f"{len(self.task.train_loader.dataset)} shapes, {self.steps_per_epoch} steps an epoch, "
            f"{self.epochs} epochs, on {self.ctx.device}; folder {self.ctx.folder}"
        )

    def train_epoch(self, progress: Progress) -> None:
        """One pass over the training split, or the rest of one that was interrupted."""
        self.task.network.train()
        meter, start, shapes = MeanMeter(), time.monotonic(), progress.num_shapes
        sampler = self.task.train_loader.sampler
        done = self.state.step - self.state.epoch * self.steps_per_epoch
        sampler.epoch, sampler.skip = self.state.epoch, done * self.cfg["accum_steps"] * self.ctx.batch_size
        # Loading processes take their seeds from here.
        torch.manual_seed(step_seed(self.cfg["seed"], self.state.step, self.ctx.rank))
        batches = iter(self.task.train_loader)
        for _ in range(done, self.steps_per_epoch):
            self.train_step(batches, meter, progress)
            self.save_step()
        self.state.epoch += 1
        seconds = time.monotonic() - start
        rate = (progress.num_shapes - shapes) / max(seconds, 1e-9)
        # Empty if the interruption came after the last step; these metrics are gone with the process that made them.
        report = meter.compute()
        extras = {"lr": self.schedule.lr(self.state.step - 1), "shapes_per_second": rate}
        self.state.metrics = report or self.state.metrics
        self.ctx.metrics.write("train", self.state.epoch, self.state.step, report | extras)
        self.log_epoch(report, seconds)

    def train_step(self, batches: Any, meter: MeanMeter, progress: Progress) -> None:
        """One optimizer step over up to `accum_steps` batches."""
        # What a step draws depends on (seed, step, process) alone, so a resumed run draws what it would have drawn.
        torch.manual_seed(step_seed(self.cfg["seed"], self.state.step, self.ctx.rank))
        self.task.generator.manual_seed(step_seed(self.cfg["seed"], self.state.step, self.ctx.rank) + 1)
        group = [batch for _, batch in zip(range(self.cfg["accum_steps"]), batches, strict=False)]
        rate = self.schedule.apply(self.optimizer, self.state.step)
        num_shapes, is_bad = sum(len(batch["points"]) for batch in group), False
        for number, batch in enumerate(group, start=1):
            # Only the last backward pass needs to exchange gradients between processes.
            is_last = number == len(group)
            with contextlib.nullcontext() if is_last else self.no_sync(), self.autocast():
                loss, report = self.task.training_step(batch)
            if self.guard.is_due(self.state.step):
                is_bad |= self.guard.must_skip(loss, report, batch, self.state.step, self.task.model)
            share = 1.0 if self.sums_losses else len(batch["points"]) / num_shapes
            with contextlib.nullcontext() if is_last else self.no_sync():
                (loss * share).backward()
            meter.update({} if is_bad else report, len(batch["points"]))
        if is_bad:
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.step_optimizer()
        self.state.step += 1
        progress.update(num_shapes * self.ctx.world_size, loss=report["loss"], lr=rate)

    def step_optimizer(self) -> None:
        """Clips the gradients and moves the weights."""
        if self.steps_twice:
            self.optimizer.step()
        if self.cfg["optim"]["grad_clip"]:
            nn.utils.clip_grad_norm_(self.task.model.parameters(), self.cfg["optim"]["grad_clip"])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def no_sync(self) -> Any:
        """Holds back the exchange of gradients, where there is one."""
        return getattr(self.task.network, "no_sync", contextlib.nullcontext)()

    def autocast(self) -> Any:
        """bf16 where asked; losses and distances stay in float32 by themselves."""
        return torch.autocast(self.ctx.device.type, torch.bfloat16, enabled=self.cfg["precision"] == "bf16")

    def validate(self) -> None:
        """Measures what `select` asks for, and keeps the best checkpoint. The test split is read here only if asked."""
        split, epoch = self.select, self.state.epoch
        is_due = epoch % self.cfg["eval_every"] == 0 or epoch == self.epochs
        if split == "last" or not is_due:
            return
        metrics = self.task.evaluate(split)
        self.ctx.metrics.write(split, epoch, self.state.step, only_numbers(metrics))
        value = metrics[self.task.monitor]
        self.ctx.logger.info(
            f"epoch {epoch}: {split} {self.task.monitor} {value:.4f} (best {max(value, self.state.best):.4f})"
        )
        if value > self.state.best:
            self.state.best, self.state.best_metrics = value, {"epoch": epoch, **metrics}
            self.save(BEST)

    def save_step(self) -> None:
        """ckpt-last.pth in the middle of an epoch, where `save_every` or a signal asks for it.

        Raises:
            SystemExit: the process has been asked to end; everything is saved.
        """
        is_due = self.cfg["save_every"] and self.state.step % self.cfg["save_every"] == 0
        if is_due or self.signals.must_save:
            self.save(LAST)
            self.signals.must_save = False
        if self.signals.must_stop:
            self.ctx.logger.info(f"asked to stop: saved after step {self.state.step}; go on with --resume")
            raise SystemExit(TERMINATED)

    def save_epoch(self) -> None:
        """ckpt-last.pth, and the epochs that are to be kept."""
        self.save(LAST)
        if self.state.epoch in self.cfg["keep_epochs"]:
            self.save(f"ckpt-epoch-{self.state.epoch}.pth")

    def save(self, name: str) -> None:
        """Writes a checkpoint into the run folder."""
        if not self.ctx.is_main:
            return
        content = {
            "base_model": self.task.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.state.epoch,
            "step": self.state.step,
            "metrics": self.state.metrics,
            "best_metrics": self.state.best_metrics,
            "config": to_plain(self.cfg),
            "schedule": {"best": self.state.best, "seconds": self.seconds, "total_steps": self.schedule.total_steps},
            "precision": self.cfg["precision"],
            "random_state": rng_state(),
        }
        if name == LAST:
            save_last(content, self.ctx.folder)
        else:
            checkpoint.save_checkpoint(content, self.ctx.folder / name)

    def finish(self) -> dict[str, Any]:
        """Loads the chosen checkpoint, reads the test split once, writes result.json and the pictures."""
        select = self.select
        if self.optimizer is not None and select != "last":
            checkpoint.load_weights(self.task.model, self.ctx.folder / BEST)
        metrics = self.task.evaluate("test")
        result = {
            "task": self.cfg["task"],
            "protocol": self.cfg["protocol"],
            "select": select,
            "seed": self.cfg["seed"],
            "epoch": self.state.epoch if select == "last" else self.state.best_metrics.get("epoch", self.state.epoch),
            "seconds": round(self.seconds, 1),
            **{f"train_{name}": value for name, value in self.state.metrics.items()},
            **metrics,
        }
        if select == "test":
            result["note"] = (
                "the checkpoint was chosen on the test split, as in published practice: this number flatters"
            )
        if quirks(self.cfg):
            result["quirks"] = quirks(self.cfg)
        self.ctx.metrics.write("test", self.state.epoch, self.state.step, only_numbers(metrics))
        if self.ctx.is_main:
            write_json(result, self.ctx.folder / "result.json")
            self.ctx.logger.info(f"{describe_metrics(metrics)}in {format_seconds(self.seconds)}; {self.ctx.folder}")
            self.draw()
        return result

    def draw(self) -> None:
        """Pictures of the run, from the files in its folder."""
        if not self.cfg["figures"]:
            return
        from tools.visualize import draw_run  # matplotlib is slow to import

        self.ctx.metrics.close()
        draw_run(self.ctx.folder)

    @property
    def seconds(self) -> float:
        """Seconds of this run, those before it was interrupted included."""
        return self.state.seconds + time.monotonic() - self.start

    def log_epoch(self, report: Mapping[str, float], seconds: float) -> None:
        """A line an epoch, and an end to a run that cannot be saved any more.

        Raises:
            InputError: the loss is no longer a number.
        """
        terms = "  ".join(f"{name} {value:.4f}" for name, value in report.items())
        self.ctx.logger.info(f"epoch {self.state.epoch}/{self.epochs}  {terms}  {format_seconds(seconds)}")
        if not math.isfinite(report.get("loss", 0.0)):
            raise InputError(
                f"the loss became {report['loss']} in epoch {self.state.epoch}; lower optim.lr, set optim.grad_clip or "
                f"look at the data, then go on from the last good epoch with --resume"
            )


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed of its own for each step and process."""
    return (seed * 1_000_003 + step * 4_099 + rank) * 2 % (1 << 62)


def only_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What of the metrics a curve can show."""
    return {name: value for name, value in metrics.items() if isinstance(value, (int, float))}


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    """The accuracies, for the log."""
    shown = [f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float)]
    return f"test: {'  '.join(shown)}  " if shown else "done "
