"""One model and its variants in all engines: started, compared with PyTorch, timed."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from ultrafastbert.bench.converted import LEAST_COSINE
from ultrafastbert.bench.engines.files import ModelFiles
from ultrafastbert.bench.engines.loads import Load
from ultrafastbert.bench.engines.turns import Calls, Turn, take_turns
from ultrafastbert.bench.engines.ways import ENCODER, PYTORCH, Way, waves_of
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
class Found:
    """What was found at one load.

    Attributes:
        expected: vectors of each variant in PyTorch's float32, (n, H).
        proven: how near those of other ways are.
        calls: what was timed.
        reasons: why others were not.
        other_load: share of the machine that other programs used meanwhile.
    """

    expected: dict[str, np.ndarray] = field(default_factory=dict)
    proven: dict[Timed, Proven] = field(default_factory=dict)
    calls: dict[Timed, Calls] = field(default_factory=dict)
    reasons: dict[Timed, str] = field(default_factory=dict)
    other_load: dict[Timed, float] = field(default_factory=dict)


@dataclass
class Measurement:
    """Processes that are measured at several loads, in waves.

    Attributes:
        fields: that all rows share.
        ffn: what is in the layers of each variant.
        loads: folder of loads.
        on_status: called with what is being done.
        workers: the processes of this wave.
        opened: those of all waves, ended or not.
        reasons: why others could not be started, or ended.
        found: at each load, by its name.
    """

    fields: Mapping[str, Any]
    ffn: Mapping[str, str]
    loads: Path
    on_status: Show = show_nothing
    workers: dict[Started, Worker] = field(default_factory=dict)
    opened: dict[Started, Worker] = field(default_factory=dict)
    reasons: dict[Started, str] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=lambda: defaultdict(Found))

    @contextmanager
    def started(self, wave: int, files: Mapping[str, ModelFiles]) -> Iterator[None]:
        """Run the processes of a wave; note why where there can be none."""
        every = [Started(name, way) for name in files for way in waves_of(name == "fff")[wave]]
        what = f"{self.fields['model']}: exporting and opening"
        with ExitStack() as stack:
            for done, each in enumerate(every):
                self.on_status(what, done, len(every), str(each), "ways")
                try:
                    worker = stack.enter_context(self._worker(each, files[each.variant]))
                    self.workers[each] = self.opened[each] = worker
                except (ImportError, OSError, RuntimeError, ValueError) as error:
                    self.reasons[each] = " ".join(str(error).split())
            yield
            self.workers.clear()

    def _worker(self, each: Started, files: ModelFiles) -> Worker:
        if lacking := each.way.lacks():
            raise ImportError(lacking)
        model = files.of(each.way)
        needed = ENGINE_BYTES + FILE_COPIES * model.n_bytes
        if (free := psutil.virtual_memory().available) < needed:
            gib = f"{needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free"
            raise ValueError(f"its process may need {gib}")
        return Worker(each.way, model, self.loads, self.fields["threads"])

    def measure(self, load: Load, seconds: float) -> None:
        """Compare the processes of this wave with PyTorch at a load, and time them."""
        found = self.found[load.name]
        ways = [each for each in self._every(load) if self._prove(load, each, found)]
        what = f"{self.fields['model']}, {load.name}: timing {len(ways)} ways"
        self.on_status(f"{what}, {seconds * len(ways) / 60:.0f} minutes or more", 0, None)
        other = OtherLoad([worker.process.pid for worker in self.workers.values()])
        found.calls |= take_turns({each: self._turn_of(load, each) for each in ways}, seconds)
        found.other_load |= dict.fromkeys(ways, other.share())

    def _turn_of(self, load: Load, each: Timed) -> Turn:
        worker = self.workers[each.started]

        def turn(calls: int, first: int, warm_up: int) -> dict[str, Any]:
            asked = {"calls": calls, "first": first, "warm_up": warm_up}
            return worker.ask(do="turn", load=load.file, batching=each.batching, **asked)

        return turn

    def _every(self, load: Load) -> list[Timed]:
        """Return how the processes of this wave can take a load."""
        return [
            Timed(variant, way, batching)
            for variant, way in self.workers
            if load.is_text or way.engine != ENCODER
            for batching in way.batchings(load.n_texts if load.is_text else 1)
        ]

    def _prove(self, load: Load, each: Timed, found: Found) -> bool:
        """Return whether vectors are near those in PyTorch's float32; note why not."""
        if each.started not in self.workers:  # it ended before, batching otherwise
            return False
        try:
            vectors, first_ms = self.workers[each.started].vectors(load.file, each.batching)
        except WorkerError as error:
            self.reasons[each.started] = str(error)
            del self.workers[each.started]
            return False
        if each.way == PYTORCH[0]:
            found.expected.setdefault(each.variant, vectors)
        if each.variant not in found.expected:
            found.reasons[each] = f"{PYTORCH[0]} could not be had, to compare with"
            return False
        cosines = cosines_of(vectors, found.expected[each.variant])
        found.proven[each] = Proven(float(cosines.mean()), float(cosines.min()), first_ms)
        if cosines.mean() >= LEAST_COSINE[each.way.precision]:
            return True
        found.reasons[each] = f"other vectors than PyTorch's: mean cosine {cosines.mean():.4f}"
        return False

    def rows(self, load: Load) -> list[EngineCase]:
        """Return the rows of all ways at a load, those that were not timed last."""
        found = self.found[load.name]
        timings = {each: calls.timing for each, calls in found.calls.items()}
        reasons = dict(found.reasons)
        for each, why in self.reasons.items():
            if load.is_text or each.way.engine != ENCODER:
                reasons |= {Timed(*each, batching): why for batching in each.way.batchings(1)}
        return [
            *(self._row(load, each, timings) for each in timings),
            *(EngineSkippedRow(**self._case(load, x), reason=why) for x, why in reasons.items()),
        ]

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

    def _row(self, load: Load, timed: Timed, timings: Mapping[Timed, Timing]) -> EngineRow:
        found, worker = self.found[load.name], self.opened[timed.started]
        mine = timings[timed]
        none = timings.get(timed._replace(variant="none")) if timed.variant != "none" else None
        original = fastest(timings, "ff")
        return EngineRow(
            **self._case(load, timed),
            **timing_fields(load, found.calls[timed]),
            **found.proven[timed]._asdict(),
            n_texts=load.n_texts,
            n_tokens=load.n_tokens,
            import_s=worker.import_s,
            load_s=worker.load_s,
            file_bytes=worker.model.n_bytes,
            other_load=found.other_load[timed],
            speed_over_none=mine.speedup_over(none) if none else None,
            speed_over_original=mine.speedup_over(original) if original else None,
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
