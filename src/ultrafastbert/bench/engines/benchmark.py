"""The benchmark of whole encoders as they are deployed: what is measured, and its rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ultrafastbert.bench.engines import loads
from ultrafastbert.bench.engines.files import ModelFiles
from ultrafastbert.bench.engines.loads import Texts
from ultrafastbert.bench.engines.measurement import Measurement
from ultrafastbert.bench.engines.models import Compared, check_names, ffn_of, of_folders, of_shape
from ultrafastbert.bench.engines.models import shapes as shape_names
from ultrafastbert.bench.timing import check_threads
from ultrafastbert.rows.engines import EngineCase, EngineRow
from ultrafastbert.rows.environment import environment
from ultrafastbert.rows.files import append_rows, read_rows
from ultrafastbert.runs.outputs import check_file
from ultrafastbert.runs.status import Show, show_nothing


@dataclass(frozen=True)
class EnginesBenchConfig:
    """What to measure.

    Attributes:
        models: names of `models.shapes()`, of random weights.
        folders: instead of these, a converted model and its original.
        loads: names of `loads.TEXT_LOADS`, or BATCHxTOKENS; each a case.
        threads: for every engine; by default as many as PyTorch uses.
        seconds: of each way at each load, after `MIN_ROUNDS` rounds.
    """

    models: tuple[str, ...] = field(default_factory=shape_names)
    folders: tuple[Path, Path] | None = None
    loads: tuple[str, ...] = loads.LOADS
    threads: int = field(default_factory=torch.get_num_threads)
    seconds: float = 3.0

    def __post_init__(self):
        check_names(self.models)
        loads.check(self.loads)
        check_threads((self.threads,))
        if self.seconds <= 0:
            raise ValueError(f"seconds={self.seconds} must be positive")

    def compared(self) -> Iterator[Compared]:
        """Yield the models, one after the other."""
        if self.folders is not None:
            yield of_folders(*self.folders)
            return
        yield from map(of_shape, self.models)


def bench_engines(
    config: EnginesBenchConfig,
    on_status: Show = show_nothing,
    path: str | Path | None = None,
) -> list[EngineCase]:
    """Measure models in every engine; return the rows, appended to the file `path` as they come.

    Each way to run a model has a process of its own. Those of PyTorch take turns, then those of
    other engines, with one budget of threads. None is timed before its vectors are near those of
    PyTorch's float32. What cannot run or is not near is a row, too, with the reason. Rows of a case
    that the file has from this processor are not measured again, nor returned.

    Raises OSError for missing files, ValueError for folders that do not fit, RuntimeError for a
    process that fails while it is timed.
    """
    if path:
        check_file(path)
    done, rows = _done(path), list[EngineCase]()
    for compared in config.compared():
        left = [
            name for name in config.loads if (*_key(compared), name, config.threads) not in done
        ]
        if not left:
            on_status(f"{compared.name}: measured before, see the rows", 0, None)
            continue
        for new in _measured(compared, left, config, on_status):
            rows.extend(append_rows(path, new) if path else new)
    return rows


def _key(compared: Compared) -> tuple[str, str | None]:
    return compared.name, compared.digest


def _done(path: str | Path | None) -> set[tuple[str, str | None, str, int]]:
    """Return the cases that a file has rows of, measured on this processor."""
    if path is None or not Path(path).exists():
        return set()
    processor = environment().processor
    return {
        (row.model, row.digest, row.load, row.threads)
        for row in read_rows(path, EngineRow)
        if row.environment and row.environment.processor == processor
    }


def _measured(
    compared: Compared, names: list[str], config: EnginesBenchConfig, on_status: Show
) -> Iterator[list[EngineCase]]:
    """Yield the rows of each load."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with TemporaryDirectory() as made:
        on_status(f"{compared.name}: making models and loads", 0, None)
        folder, texts = Path(made), Texts(compared.tokenizer)
        files, ffn = _files(compared, folder, texts)
        (folder / "loads").mkdir()
        found = [texts.write(name, folder / "loads") for name in names]
        shared = {
            "started": started,
            "model": compared.name,
            "digest": compared.digest,
            "run_ffn": compared.run_ffn,
            "threads": config.threads,
        }
        measurement = Measurement(shared, ffn, folder / "loads", on_status)
        with measurement.started(0, files):
            for load in found:
                measurement.measure(load, config.seconds)
        with measurement.started(1, files):
            for load in found:
                measurement.measure(load, config.seconds)
                yield measurement.rows(load)


def _files(
    compared: Compared, folder: Path, texts: Texts
) -> tuple[dict[str, ModelFiles], dict[str, str]]:
    """Save the variants; return their files, and what is in their layers."""
    files, ffn = {}, {}
    for variant, make in compared.variants.items():
        model = make()
        ffn[variant] = ffn_of(model)
        place = folder / variant
        files[variant] = ModelFiles(model, compared.tokenizer, place, texts.samples())
    return files, ffn
