"""The loop: restore -> (train an epoch -> evaluate -> save)* -> evaluate."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pointrecon.tools.checkpoints import checkpoint
from pointrecon.tools.checkpoints.snapshot import (
    BEST,
    LAST,
    State,
    check_config,
    check_versions,
    make_content,
    read_last,
    read_state,
    save_last,
)
from pointrecon.tools.checkpoints.writer import CheckpointWriter
from pointrecon.tools.protocol import has_quirk, num_epochs, selection
from pointrecon.tools.result import describe_metrics, make_result, only_numbers
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.training.guards import TERMINATED, LossGuard, Part, Signals
from pointrecon.tools.training.hooks import HookList, make_hooks
from pointrecon.tools.training.meters import MeanMeter
from pointrecon.tools.training.optim import CosineSchedule, PublishedSchedule, make_optimizer, move_cls_with_head
from pointrecon.tools.training.passes import make_passes
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import write_json
from pointrecon.utils.log import Progress, format_seconds
from pointrecon.utils.processes import distributed
from pointrecon.utils.seed import seed_step, set_rng_state


def run(task: Task, cfg: Mapping[str, Any], ctx: Any) -> dict[str, Any]:
    """Runs a task to its end and returns what is in result.json."""
    runner = Runner(task, cfg, ctx, hooks=make_hooks(task, cfg, ctx))
    ctx.open_folder()  # only now: a run that cannot start leaves nothing behind
    if task.train_loader is not None and cfg["epochs"]:
        runner.train()
    return runner.finish()


class Runner:
    """One run of one task.

    Args:
        task: what is trained and measured.
        cfg: the whole config.
        ctx: the run's surroundings.
        hooks: called after each step and each epoch.
    """

    def __init__(self, task: Task, cfg: Mapping[str, Any], ctx: Any, *, hooks: HookList) -> None:
        self.task, self.cfg, self.ctx = task, cfg, ctx
        self.hooks = hooks
        self.state = State()
        self.optimizer: torch.optim.Optimizer | None = None
        self.epochs, self.select = num_epochs(cfg), selection(cfg)
        self.sums_losses, self.steps_twice = has_quirk(cfg, "undivided_accumulation"), has_quirk(cfg, "double_step")
        self.guard, self.meter = LossGuard(cfg, ctx), MeanMeter()
        self.signals = Signals(ctx.is_main)  # heard while training
        self.start, self.is_best = time.monotonic(), False
        self.saved: dict[str, Any] | None = None
        if cfg["resume"] and cfg["epochs"] and task.train_loader is not None:
            self.saved = read_last(ctx.folder, ctx.logger)
        if self.saved is not None:
            check_config(self.saved["config"], cfg, ctx.logger)
            check_versions(self.saved.get("versions", {}), ctx.logger)

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
        with shown as progress, self.signals, CheckpointWriter(self.write) as self.writer:
            while self.state.epoch < self.epochs:
                self.train_epoch(progress)
                self.validate()
                self.call_hooks()
                self.save_epoch()
        # What the run has come to are the weights that are evaluated.
        self.task.model.load_state_dict(self.hooks.evaluated_weights(), strict=False)
        # The distributed version must be gone before the connection that it uses is; a recording holds memory.
        self.task.network, self.passes = self.task.model, None
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
        self.hooks.load_state_dict(content.get("hooks", {}))
        self.optimizer.load_state_dict(content["optimizer"])
        self.state = read_state(content)
        self.guard.num_skipped = self.state.num_skipped
        set_rng_state(content["random_state"])
        self.ctx.metrics.rewind(self.state.step, self.state.num_records)
        self.ctx.logger.info(f"resumed after epoch {self.state.epoch}, step {self.state.step}")

    def prepare_network(self) -> None:
        """Compiles or distributes the network where asked, and gets ready to run its passes."""
        self.passes = make_passes(self.task, self.cfg, self.ctx)

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
        start, shapes = time.monotonic(), progress.num_shapes
        self.meter.reset()
        self.meter.load_state(self.state.sums, self.ctx.is_main)
        sampler = self.task.train_loader.sampler
        done = self.state.step - self.state.epoch * self.steps_per_epoch
        sampler.epoch, sampler.skip = self.state.epoch, done * self.cfg["accum_steps"] * self.ctx.batch_size
        batches: Any = None
        for _ in range(done, self.steps_per_epoch):
            if batches is None:
                # Loading processes take their seeds from here.
                torch.manual_seed(step_seed(self.cfg["seed"], self.state.step, self.ctx.rank))
                batches = iter(self.task.train_loader)
            self.train_step(batches, progress)
            self.save_step()
        self.state.epoch += 1
        self.state.sums = {}
        # Without sync_bn each process has running statistics of its own; the main one's are saved and so are measured.
        distributed.copy_from_main(self.task.model.buffers())
        seconds = time.monotonic() - start
        rate = (progress.num_shapes - shapes) / max(seconds, 1e-9)
        report = self.meter.compute()
        extras = {"lr": self.schedule.lr(self.state.step - 1), "shapes_per_second": rate}
        self.state.metrics = report
        self.ctx.metrics.write("train", self.state.epoch, self.state.step, report | extras)
        self.log_epoch(report, seconds)

    def train_step(self, batches: Any, progress: Progress) -> None:
        """One optimizer step over up to `accum_steps` batches."""
        group = self.read_batches(batches)
        rate = self.schedule.apply(self.optimizer, self.state.step)
        num_shapes, parts = sum(len(batch["points"]) for batch in group), []
        for number, batch in enumerate(group, start=1):
            share = 1.0 if self.sums_losses else len(batch["points"]) / num_shapes
            parts.append(Part(*self.passes.run(batch, share, is_last=number == len(group)), batch))
        is_bad, shown = self.guard.look(parts, self.state.step, self.task.model, self.is_saved_next)
        if is_bad:
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.step_optimizer()
        for part in parts:
            self.meter.update({} if is_bad else part.report, len(part.batch["points"]))
        self.state.step += 1
        if not is_bad:
            self.hooks.after_step(step=self.state.step)
        loss = parts[-1].report["loss"] if shown is None else shown
        progress.update(num_shapes * self.ctx.world_size, loss=loss, lr=rate)

    def is_saved_after(self, num_steps: int) -> bool:
        """Whether `save_every` asks for a checkpoint after so many steps."""
        return bool(self.cfg["save_every"]) and num_steps % self.cfg["save_every"] == 0

    def is_epoch_saved(self, number: int) -> bool:
        """Whether there is a checkpoint after so many epochs, whatever they were like."""
        return number % self.cfg["save_epochs"] == 0 or number == self.epochs or number in self.cfg["keep_epochs"]

    @property
    def is_saved_next(self) -> bool:
        """Whether there will be a checkpoint after the present step: its loss is then looked at before."""
        step = self.state.step + 1
        epoch, rest = divmod(step, self.schedule.steps_per_epoch)
        return self.signals.must_save or self.is_saved_after(step) or (rest == 0 and self.is_epoch_saved(epoch))

    def read_batches(self, batches: Any) -> list[Any]:
        """The batches of a step. What it draws depends on (seed, step) alone: if resumed, and in several processes."""
        seed, step = self.cfg["seed"], self.state.step
        # What a data set draws for itself is another thing: each process has other objects.
        seed_step(step_seed(seed, step, self.ctx.rank))
        group = [batch for _, batch in zip(range(self.cfg["accum_steps"]), batches, strict=False)]
        if self.ctx.world_size > 1:
            seed_step(step_seed(seed, step, 0))
        self.task.generator.manual_seed(step_seed(seed, step, 0) + 1)
        return group

    def step_optimizer(self) -> None:
        """Clips the gradients and moves the weights."""
        if self.steps_twice:
            self.optimizer.step()
        if self.cfg["optim"]["grad_clip"]:
            nn.utils.clip_grad_norm_(self.task.model.parameters(), self.cfg["optim"]["grad_clip"])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def validate(self) -> None:
        """Measures what `select` asks for, and notes a new best. The test split is read here only if asked."""
        split, epoch = self.select, self.state.epoch
        is_due = epoch % self.cfg["eval_every"] == 0 or epoch == self.epochs
        if split == "last" or not is_due:
            return
        with self.hooks.evaluating():
            metrics = self.task.evaluate(split)
        self.ctx.metrics.write(split, epoch, self.state.step, only_numbers(metrics))
        value = metrics[self.task.monitor]
        self.ctx.logger.info(
            f"epoch {epoch}: {split} {self.task.monitor} {value:.4f} (best {max(value, self.state.best):.4f})"
        )
        if value > self.state.best:
            self.state.best, self.state.best_metrics, self.is_best = value, {"epoch": epoch, **metrics}, True

    def call_hooks(self) -> None:
        """Lets the hooks follow the epoch, and writes down what they measure."""
        for split, metrics in self.hooks.after_epoch(epoch=self.state.epoch):
            self.ctx.metrics.write(split, self.state.epoch, self.state.step, metrics)

    def save_step(self) -> None:
        """ckpt-last.pth in the middle of an epoch, where `save_every` or a signal asks for it.

        Raises:
            SystemExit: the process has been asked to end; everything is saved.
            InputError: the checkpoint before could not be written.
        """
        self.writer.check()
        is_due = self.is_saved_after(self.state.step)
        if is_due or self.signals.must_save:
            # A signal comes to the main process alone, which then counts what it has seen itself.
            self.state.sums = self.meter.state(is_shared=bool(is_due))
            self.save([LAST])
            self.signals.must_save = False
        self.stop_if_asked()

    def save_epoch(self) -> None:
        """ckpt-last.pth, after what must be there if that is: ckpt-best.pth, if it is, and the epochs to be kept.

        Nothing, where `save_epochs` lets the epoch pass.
        """
        if not (self.is_best or self.signals.must_save or self.is_epoch_saved(self.state.epoch)):
            return
        kept = [f"ckpt-epoch-{self.state.epoch}.pth"] if self.state.epoch in self.cfg["keep_epochs"] else []
        self.save([*([BEST] if self.is_best else []), *kept, LAST])
        self.is_best = self.signals.must_save = False
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Ends the process after SIGTERM, once everything is on the disk."""
        if self.signals.must_stop:
            self.writer.wait()
            self.ctx.logger.info(f"asked to stop: saved after step {self.state.step}; go on with --resume")
            raise SystemExit(TERMINATED)

    def save(self, names: Sequence[str]) -> None:
        """Gives a checkpoint to the writer, under several names."""
        if not self.ctx.is_main:
            return
        self.state.num_skipped, self.state.num_records = self.guard.num_skipped, self.ctx.metrics.num_records
        state = replace(self.state, seconds=self.seconds)
        self.writer.submit(
            make_content(state, self.task.model, self.optimizer, self.schedule, self.cfg, hooks=self.hooks), names
        )

    def write(self, content: Mapping[str, Any], names: Sequence[str]) -> None:
        """Writes a checkpoint into the run folder, one file after the other."""
        for name in names:
            if name == LAST:
                save_last(content, self.ctx.folder)
            else:
                checkpoint.save_checkpoint(content, self.ctx.folder / name)

    def finish(self) -> dict[str, Any]:
        """Loads the chosen checkpoint, reads the test split once, writes result.json and the pictures."""
        if self.optimizer is not None and self.select != "last":
            checkpoint.load_weights(self.task.model, self.ctx.folder / BEST)
        metrics = self.task.evaluate("test")
        result = make_result(self.cfg, self.state, metrics, self.seconds)
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
        from pointrecon.tools.visualize import draw_run  # matplotlib is slow to import

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
