"""One model and its variants in all engines: started, compared with PyTorch, timed."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from ultrafastbert.bench.converted import LEAST_COSINE
from ultrafastbert.bench.engines.files import ModelFiles
from ultrafastbert.bench.engines.loads import Load
from ultrafastbert.bench.engines.turns import Calls, take_turns
from ultrafastbert.bench.engines.ways import ENCODER, PYTORCH, Way, ways_of
from ultrafastbert.bench.engines.workers import Worker, WorkerError
from ultrafastbert.bench.timing import OtherLoad, Timing, quantile
from ultrafastbert.rows.engines import EngineCase, EngineRow, EngineSkippedRow
from ultrafastbert.runs.status import Show, show_nothing

# What must stay free when a process starts: an engine, and twice the model's file.
ENGINE_BYTES = 2**29
FILE_COPIES = 2


class Started(NamedTuple):
    """A variant, and how it is run."""

    variant: str
    way: Way

    def __str__(self) -> str:
        return f"{self.variant}, {self.way}"


class Timed(NamedTuple):
    """A variant, how it is run, and how texts are batched."""

    variant: str
    way: Way
    batching: str

    @property
    def started(self) -> Started:
        """The process."""
        return Started(self.variant, self.way)


class Proven(NamedTuple):
    """How near vectors are to those in PyTorch's float32, and what the first call took."""

    cosine: float
    cosine_least: float
    first_ms: float


@dataclass
class Measurement:
    """Processes that are measured at several loads.

    Attributes:
        fields: that all rows share.
        ffn: what is in the layers of each variant.
        loads: folder of loads.
        on_status: called with what is being done.
    """

    fields: Mapping[str, Any]
    ffn: Mapping[str, str]
    loads: Path
    on_status: Show = show_nothing
    workers: dict[Started, Worker] = field(default_factory=dict)
    reasons: dict[Started, str] = field(default_factory=dict)

    def start(self, files: Mapping[str, ModelFiles], stack: ExitStack) -> None:
        """Start a process for each variant and way; note why where there can be none."""
        every = [Started(name, way) for name in files for way in ways_of(name == "fff")]
        for done, each in enumerate(every):
            what = f"{self.fields['model']}: exporting and opening"
            self.on_status(what, done, len(every), str(each), "ways")
            try:
                self.workers[each] = stack.enter_context(self._worker(each, files[each.variant]))
            except (ImportError, OSError, RuntimeError, ValueError) as error:
                self.reasons[each] = " ".join(str(error).split())

    def _worker(self, each: Started, files: ModelFiles) -> Worker:
        if lacking := each.way.lacks():
            raise ImportError(lacking)
        model = files.of(each.way)
        needed = ENGINE_BYTES + FILE_COPIES * model.n_bytes
        if (free := psutil.virtual_memory().available) < needed:
            gib = f"{needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free"
            raise ValueError(f"its process may need {gib}")
        return Worker(each.way, model, self.loads, self.fields["threads"])

    def measure(self, load: Load, seconds: float) -> list[EngineCase]:
        """Return the rows of all ways at a load, those that were not timed last."""
        proven, reasons = self._prove(load)
        what = f"{self.fields['model']}, {load.name}: timing {len(proven)} ways"
        self.on_status(f"{what}, {seconds * len(proven) / 60:.0f} minutes or more", 0, None)
        turns = {
            each: partial(self._turn, self.workers[each.started], load, each.batching)
            for each in proven
        }
        other = OtherLoad([worker.process.pid for worker in self.workers.values()])
        calls = take_turns(turns, seconds)
        busy = other.share()
        return [
            *(self._row(load, each, proven[each], calls, busy) for each in calls),
            *(EngineSkippedRow(**self._case(load, x), reason=why) for x, why in reasons.items()),
        ]

    @staticmethod
    def _turn(
        worker: Worker, load: Load, batching: str, calls: int, first: int, warm_up: int
    ) -> dict[str, Any]:
        asked = {"calls": calls, "first": first, "warm_up": warm_up}
        return worker.ask(do="turn", load=load.file, batching=batching, **asked)

    def _every(self, load: Load) -> Iterator[Timed]:
        for variant, way in [*self.workers, *self.reasons]:
            if load.is_text or way.engine != ENCODER:
                for batching in way.batchings(load.n_texts if load.is_text else 1):
                    yield Timed(variant, way, batching)

    def _prove(self, load: Load) -> tuple[dict[Timed, Proven], dict[Timed, str]]:
        """Return how near each way is to PyTorch, and why others cannot be timed."""
        proven: dict[Timed, Proven] = {}
        reasons: dict[Timed, str] = {}
        expected: dict[str, np.ndarray] = {}
        for each in self._every(load):
            if each.started in self.reasons:
                reasons[each] = self.reasons[each.started]
                continue
            try:
                found, first_ms = self.workers[each.started].vectors(load.file, each.batching)
            except WorkerError as error:
                reasons[each] = self.reasons[each.started] = str(error)
                del self.workers[each.started]
                continue
            if each.way == PYTORCH[0]:
                expected.setdefault(each.variant, found)
            if each.variant not in expected:
                reasons[each] = f"{PYTORCH[0]} could not be had, to compare with"
                continue
            cosines = cosines_of(found, expected[each.variant])
            proven[each] = Proven(float(cosines.mean()), float(cosines.min()), first_ms)
            if not cosines.mean() >= LEAST_COSINE[each.way.precision]:
                del proven[each]
                reasons[each] = f"other vectors than PyTorch's: mean cosine {cosines.mean():.4f}"
        return proven, reasons

    def _case(self, load: Load, timed: Timed) -> dict[str, Any]:
        return {
            **self.fields,
            "load": load.name,
            "variant": timed.variant,
            "ffn": self.ffn[timed.variant],
            "engine": timed.way.engine,
            "precision": timed.way.precision,
            "operator": timed.way.operator,
            "batching": timed.batching if load.is_text else None,
        }

    def _row(
        self, load: Load, timed: Timed, proven: Proven, calls: dict[Timed, Calls], busy: float
    ) -> EngineRow:
        mine, worker = calls[timed], self.workers[timed.started]
        timings = {each: found.timing for each, found in calls.items()}
        none = timings.get(timed._replace(variant="none")) if timed.variant != "none" else None
        original = fastest(timings, "ff")
        return EngineRow(
            **self._case(load, timed),
            **timing_fields(load, mine),
            **proven._asdict(),
            n_texts=load.n_texts,
            n_tokens=load.n_tokens,
            import_s=worker.import_s,
            load_s=worker.load_s,
            file_bytes=worker.model.n_bytes,
            other_load=busy,
            speed_over_none=mine.timing.speedup_over(none) if none else None,
            speed_over_original=mine.timing.speedup_over(original) if original else None,
        )


def cosines_of(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the cosines of vectors (n, H) to others: (n)."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return (found * expected).sum(1) / lengths


def fastest(timings: Mapping[Timed, Timing], variant: str) -> Timing | None:
    """Return a variant's least time, run in any way."""
    found = [timing for each, timing in timings.items() if each.variant == variant]
    return min(found, key=lambda timing: timing.median, default=None)


def timing_fields(load: Load, calls: Calls) -> dict[str, Any]:
    """Return the fields of a row that tell its times."""
    milliseconds = [1e3 * seconds for seconds in calls.seconds]
    low, median, high, p99 = (quantile(milliseconds, at) for at in (0.1, 0.5, 0.9, 0.99))
    return {
        "latency_ms": median,
        "latency_ms_low": low,
        "latency_ms_high": high,
        "latency_ms_p99": p99,
        "texts_per_s": load.n_texts / calls.timing.median,
        "tokens_per_s": load.n_tokens / calls.timing.median,
        "rounds": len(calls.rounds),
        "calls": calls.calls,
        "peak_bytes": calls.peak_bytes,
        "cores_used": calls.cores_used,
    }
