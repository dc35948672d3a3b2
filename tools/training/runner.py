"""The loop: restore -> (train an epoch -> evaluate -> save)* -> evaluate."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.datasets.sample import Batch
from pointrecon.models.encoder import PointEncoder
from pointrecon.tools.checkpoints import checkpoint
from pointrecon.tools.checkpoints.snapshot import BEST, LAST, State, make_content, read_last
from pointrecon.tools.checkpoints.writer import CheckpointWriter
from pointrecon.tools.context import RunContext
from pointrecon.tools.protocol import has_quirk, num_epochs, selection
from pointrecon.tools.result import only_numbers
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.training.batches import TrainBatches
from pointrecon.tools.training.finish import finish
from pointrecon.tools.training.guards import LossGuard, Part, check_mean
from pointrecon.tools.training.hooks import HookList, make_hooks
from pointrecon.tools.training.meters import MeanMeter
from pointrecon.tools.training.optim import CosineSchedule, PublishedSchedule, make_optimizer, move_cls_with_head
from pointrecon.tools.training.parallel.weights import Weights, make_weights, with_whole_model
from pointrecon.tools.training.passes import make_passes
from pointrecon.tools.training.restore import restore
from pointrecon.tools.training.saving import is_epoch_saved, is_step_saved, names_of_epoch, tidy, write_into
from pointrecon.tools.training.signals import Signals, StopRequested
from pointrecon.utils.errors import InputError
from pointrecon.utils.log import Progress, format_seconds
from pointrecon.utils.processes import distributed

LOADER_FAULT = "DataLoader timed out"


def run(task: Task, cfg: Settings, ctx: RunContext) -> dict[str, Any]:
    """Runs a task to its end and returns what is in result.json."""
    start = time.monotonic()
    if task.train_loader is None or not cfg["epochs"]:
        ctx.open_folder()
        return finish(task, cfg, ctx, state=State(), seconds=time.monotonic() - start)
    weights = make_weights(task, cfg, ctx)
    runner = Runner(task, cfg, ctx, hooks=with_whole_model(make_hooks(task, cfg, ctx), weights), weights=weights)
    ctx.open_folder(goes_on=runner.is_resumed)  # only now: what cannot start leaves nothing behind
    try:
        runner.train()
        return runner.finish()
    except KeyboardInterrupt:
        is_saved = (ctx.folder / LAST).is_file()
        end = "go on from the last checkpoint with --resume" if is_saved else "there is no checkpoint yet"
        ctx.logger.info(f"stopped at once; {end}")
        raise


class Runner:
    """One training run of one task, from its beginning or from where it was interrupted.

    Args:
        task: what is trained and measured; has a `train_loader`.
        cfg: the whole config.
        ctx: the run's surroundings.
        hooks: called after each step and each epoch.
        weights: what is trained; None: the task's model.

    Raises:
        InputError: the run cannot start, or not go on from the checkpoint that is there.
    """

    def __init__(
        self, task: Task, cfg: Settings, ctx: RunContext, *, hooks: HookList, weights: Weights | None = None
    ) -> None:
        assert task.train_loader is not None
        self.task, self.cfg, self.ctx, self.hooks, self.weights = task, cfg, ctx, hooks, weights or Weights(task)
        self.state = State()
        self.boundary: State | None = None  # where to go on if the end of an epoch is interrupted
        self.epochs, self.select = num_epochs(cfg), selection(cfg)
        self.sums_losses, self.steps_twice = has_quirk(cfg, "undivided_accumulation"), has_quirk(cfg, "double_step")
        self.guard, self.meter = LossGuard(cfg, ctx, task.trained, self.weights.state), MeanMeter()
        self.signals = Signals(ctx.is_main, is_collective=self.weights.is_sharded)  # heard while training
        self.batches = TrainBatches(task.train_loader, task.generator, cfg, ctx, signals=self.signals)
        self.start, self.is_best, self.is_moving = time.monotonic(), False, False
        self.optimizer = self.make_optimizer()
        self.steps_per_epoch = self.batches.steps_per_epoch
        schedule = PublishedSchedule if has_quirk(cfg, "epoch_schedule") else CosineSchedule
        self.schedule = schedule(cfg["optim"], self.steps_per_epoch, self.epochs)
        saved = read_last(ctx.folder, ctx.logger) if cfg["resume"] else None
        self.is_resumed = saved is not None
        if saved is not None:
            parts: Any = {"optimizer": self.optimizer, "hooks": hooks, "weights": self.weights}
            self.state = restore(saved, task, cfg, ctx, **parts, steps_per_epoch=self.steps_per_epoch)
            self.guard.num_skipped = self.state.num_skipped

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer over what is trained, with the published head group where that is asked for."""
        options, is_published = self.cfg["optim"], has_quirk(self.cfg, "cls_in_head_group")
        optimizer = make_optimizer(self.task.trained, options, decays_head=is_published)
        encoder = getattr(self.task.trained, "encoder", None)
        if is_published and isinstance(encoder, PointEncoder):
            is_frozen = self.cfg["classifier"]["freeze"] == "backbone"
            move_cls_with_head(optimizer, encoder, options, is_frozen=is_frozen)
        return optimizer

    def train(self) -> None:
        """(train an epoch -> evaluate -> save)*."""
        if self.is_resumed:
            self.ctx.metrics.rewind(self.state.step, self.state.num_records)
        self.prepare_network()
        self.describe()
        total = self.epochs * self.steps_per_epoch
        shown = Progress(
            total, self.ctx.logger, self.cfg["task"], self.position, self.cfg["log_every"], enabled=self.ctx.is_main
        )
        with shown as progress, self.signals, CheckpointWriter(write_into(self.ctx.folder)) as self.writer:
            try:
                while self.state.epoch < self.epochs:
                    self.train_epoch(progress)
                    self.end_epoch()
            except StopRequested:
                self.stop_early()
            except (RuntimeError, InputError) as error:
                self.rescue(error)
                raise
        # What the run has come to are the weights that are evaluated.
        self.weights.settle(self.hooks)
        # The distributed version must be gone before the connection that it uses is; a recording holds memory.
        self.task.network = self.task.model
        del self.passes
        distributed.barrier()

    def prepare_network(self) -> None:
        """Compiles or distributes the network where asked, and gets ready to run its passes."""
        self.passes = make_passes(self.task, self.cfg, self.ctx)

    def describe(self) -> None:
        """Says what is about to be trained."""
        num_weights = sum(p.numel() for p in self.task.model.parameters() if p.requires_grad)
        length = f"{self.steps_per_epoch} steps an epoch, {self.epochs} epochs"
        self.ctx.logger.info(
            f"{self.cfg['task']}: {num_weights / 1e6:.2f} M parameters to train, "
            f"{self.batches.loader.sampler.size} samples, {length}, on {self.ctx.device}; folder {self.ctx.folder}"
        )

    @property
    def position(self) -> int:
        """Steps done, as the schedule counts them; not `state.step` if the epochs had another length once."""
        return self.state.epoch * self.steps_per_epoch + self.state.epoch_steps

    def train_epoch(self, progress: Progress) -> None:
        """One pass over the training split, or the rest of one that was interrupted."""
        self.task.network.train()
        start, shapes = time.monotonic(), progress.num_shapes
        self.meter.reset()
        self.meter.load_state(self.state.sums, self.ctx.is_main)
        self.boundary = None
        self.batches.begin(self.state.epoch, done=self.state.epoch_steps)
        for _ in range(self.state.epoch_steps, self.steps_per_epoch):
            self.train_step(progress)
            self.save_step()
        sums, lines = self.meter.state(is_shared=False), self.ctx.metrics.num_records
        self.boundary = replace(self.state, sums=sums, num_records=lines)
        self.state = replace(self.state, epoch=self.state.epoch + 1, epoch_steps=0, sums={})
        # Without sync_bn each process has running statistics of its own; the main one's are saved and so are measured.
        distributed.copy_from_main(self.task.trained.buffers())
        seconds = time.monotonic() - start
        rate = (progress.num_shapes - shapes) / max(seconds, 1e-9)
        report = self.meter.compute()
        extras = {"lr": self.schedule.lr(self.position - 1), "shapes_per_second": rate}
        self.state.metrics = report
        self.ctx.metrics.write("train", self.state.epoch, self.state.step, report | extras)
        terms = "  ".join(f"{name} {value:.4f}" for name, value in report.items())
        self.ctx.logger.info(f"epoch {self.state.epoch}/{self.epochs}  {terms}  {format_seconds(seconds)}")
        check_mean(report.get("loss", 0.0), self.state.epoch)  # a run that cannot be saved any more ends

    def train_step(self, progress: Progress) -> None:
        """One optimizer step over up to `accum_steps` batches."""
        group = self.read_batches()
        rate = self.schedule.apply(self.optimizer, self.position)
        is_due = self.guard.is_due(self.state.step, self.is_saved_next)
        if is_due:
            self.guard.begin()
        num_shapes = sum(len(batch["points"]) for batch in group)
        shares = [1.0 if self.sums_losses else len(batch["points"]) / num_shapes for batch in group]
        losses = self.passes.run_all(group, shares)
        parts = [Part(*pair, batch) for pair, batch in zip(losses, group, strict=True)]
        self.weights.collect_gradients()
        is_bad, norm = False, None
        shown: Tensor | float = parts[-1].report["loss"]
        if is_due or self.cfg["optim"]["grad_clip"]:
            norm = self.weights.gradient_norm()
        if is_due and norm is not None:
            is_bad, shown = self.guard.look(parts, norm, self.state.step)
        self.is_moving = True
        if is_bad:
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.step_optimizer(norm)
        for part in parts:
            self.meter.update({} if is_bad else part.report, len(part.batch["points"]))
        self.state.step += 1
        self.state.epoch_steps += 1
        if not is_bad:
            self.hooks.after_step(step=self.state.step)
        self.guard.end()
        self.is_moving = False
        progress.update(num_shapes * self.ctx.world_size, loss=shown, lr=rate)

    @property
    def is_saved_next(self) -> bool:
        """Whether there will be a checkpoint after the present step: its loss is then looked at before."""
        is_end = self.state.epoch_steps + 1 == self.steps_per_epoch
        is_due = is_end and is_epoch_saved(self.cfg, self.state.epoch + 1, self.epochs)
        is_asked = self.signals.must_save and self.ctx.world_size == 1  # others have not heard it, and would not look
        return is_asked or is_due or is_step_saved(self.cfg, self.state.step + 1)

    def read_batches(self) -> list[Batch]:
        """The batches of the next step."""
        return self.batches.read(self.state.step)

    def step_optimizer(self, norm: Tensor | None) -> None:
        """Clips the gradients by their norm, where asked, and moves the weights."""
        if self.steps_twice:
            self.optimizer.step()
        limit = self.cfg["optim"]["grad_clip"]
        if limit and norm is not None:
            nn.utils.clip_grads_with_norm_(self.task.trained.parameters(), limit, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def end_epoch(self) -> None:
        """Evaluates, lets the hooks follow, and saves."""
        with self.signals.interruptible():
            self.validate()
            for split, metrics in self.hooks.after_epoch(epoch=self.state.epoch):
                self.ctx.metrics.write(split, self.state.epoch, self.state.step, metrics)
        self.save_epoch()

    def validate(self) -> None:
        """Measures what `select` asks for, and notes a new best. The test split is read here only if asked."""
        epoch = self.state.epoch
        is_due = epoch % self.task.evaluators.select_every == 0 or epoch == self.epochs
        if self.select == "last" or not is_due:
            return
        with self.hooks.evaluating():
            split, metrics, monitor = self.task.validate(self.select)
        self.ctx.metrics.write(split, epoch, self.state.step, only_numbers(metrics))
        value = metrics[monitor]
        self.ctx.logger.info(f"epoch {epoch}: {split} {monitor} {value:.4f} (best {max(value, self.state.best):.4f})")
        if value > self.state.best:
            self.state.best, self.state.best_metrics, self.is_best = value, {"epoch": epoch, **metrics}, True

    def save_step(self) -> None:
        """ckpt-last.pth in the middle of an epoch, where `save_every` or a signal asks for it.

        Raises:
            SystemExit: the process has been asked to end; everything is saved.
            InputError: the checkpoint before could not be written.
        """
        self.writer.check()
        is_due = is_step_saved(self.cfg, self.state.step)
        if self.weights.is_sharded and self.guard.is_due(self.state.step - 1, is_due):
            self.signals.agree()
        if is_due or self.signals.must_save:
            # A signal comes to the main process alone, which then counts what it has seen itself.
            self.state.sums = self.meter.state(is_shared=is_due or self.weights.is_sharded)
            self.save([LAST])
            self.signals.must_save = False
        self.stop_if_asked()

    def save_epoch(self) -> None:
        """ckpt-last.pth, after what must be there if that is: ckpt-best.pth, if it is, and the epochs to be kept.

        Nothing, where `save_epochs` lets the epoch pass.
        """
        epoch = self.state.epoch
        self.signals.agree()
        if not (self.is_best or self.signals.must_save or is_epoch_saved(self.cfg, epoch, self.epochs)):
            return
        self.save(names_of_epoch(self.cfg, epoch, is_best=self.is_best))
        self.is_best = self.signals.must_save = False
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Ends the process after SIGTERM or Ctrl-C, once everything is on the disk."""
        if self.signals.must_stop:
            self.writer.wait()
            if self.weights.is_sharded:
                distributed.barrier()  # a launcher ends all with the first that is gone
            self.ctx.logger.info(f"asked to stop: saved after step {self.state.step}; go on with --resume")
            raise SystemExit(self.signals.exit_code)

    def stop_early(self) -> None:
        """Ends a run that was asked to stop while it waited for data or evaluated."""
        if self.ctx.is_main:
            self.save_boundary()
            self.stop_if_asked()
        raise SystemExit(self.signals.exit_code)

    def rescue(self, error: Exception) -> None:
        """Saves the last whole step before an error ends a run that was asked to stop, or whose data do not come."""
        is_late = isinstance(error, InputError) and LOADER_FAULT in str(error.__cause__)
        can_save = self.ctx.is_main and not self.weights.is_sharded and not self.is_moving
        if can_save and (self.signals.must_stop or is_late):
            self.guard.undo()
            self.save_boundary()
            self.stop_if_asked()
            self.writer.wait()

    def save_boundary(self) -> None:
        """ckpt-last.pth as after the last whole step; the end of an epoch that was interrupted is done again."""
        if self.boundary is None:
            self.state.sums = self.meter.state(is_shared=False)
        else:
            self.state = self.boundary
        self.save([LAST])

    def save(self, names: Sequence[str]) -> None:
        """Gives a checkpoint to the writer, under several names."""
        if not (self.ctx.is_main or self.weights.is_sharded):
            return
        if self.state is not self.boundary:
            self.state.num_records = self.ctx.metrics.num_records
        state = replace(self.state, seconds=self.seconds, num_skipped=self.guard.num_skipped)
        lengths = {"steps_per_epoch": self.steps_per_epoch, "total_steps": self.schedule.total_steps}
        notes = self.task.checkpoint_notes()
        content = self.weights.gather(
            make_content(state, self.task.trained, self.optimizer, self.cfg, hooks=self.hooks, notes=notes, **lengths)
        )
        if self.ctx.is_main:
            self.writer.submit(content, names)

    def finish(self) -> dict[str, Any]:
        """Loads the chosen checkpoint, reads the test split once, and leaves what is to be kept."""
        if self.select != "last":
            checkpoint.load_weights(self.task.model, self.ctx.folder / BEST)
        result = finish(self.task, self.cfg, self.ctx, state=self.state, seconds=self.seconds)
        if self.ctx.is_main:
            tidy(self.ctx.folder, self.cfg["keep"], self.ctx.logger)
        return result

    @property
    def seconds(self) -> float:
        """Seconds of this run, those before it was interrupted included."""
        return self.state.seconds + time.monotonic() - self.start
