"""What commands show while they work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from ultrafastbert.run_folder import is_main_process

console = Console(stderr=True, quiet=not is_main_process())


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress bars with what is being done, a note, and the time left."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield progress


@contextmanager
def status_bar(
    description: str = "starting",
) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show one bar; give the function that sets what is being done, and how much of how much."""
    with progress_bar() as progress:
        bar = progress.add_task(description, total=None, note="")

        def set_status(what: str, done: int, total: int | None) -> None:
            progress.update(bar, description=escape(what), completed=done, total=total)

        yield set_status


class TrainingProgress(TrainerCallback):
    """Shows a training run: loss, tokens per second, time left."""

    def __init__(self, progress: Progress, name: str):
        self.progress = progress
        self.task = progress.add_task(f"pretraining {name}", total=None, note="")

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Set the number of steps."""
        self.started = (self.progress.get_time(), None)
        self.progress.update(self.task, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Advance by a step."""
        self.progress.update(self.task, completed=state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Show the loss and the speed since training began."""
        if not logs or "loss" not in logs:
            return
        now = self.progress.get_time()
        start, first = self.started
        if first is None:
            self.started, rate = (now, logs["tokens"]), ""
        else:
            rate = f"  {(logs['tokens'] - first) / max(now - start, 1e-9):,.0f} tokens/s"
        self.progress.update(self.task, note=f"loss {logs['loss']:.3f}{rate}")
