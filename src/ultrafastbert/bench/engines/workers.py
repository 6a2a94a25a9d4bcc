"""The other end of `worker`: starts a process, asks, and ends it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ultrafastbert.bench.engines import worker
from ultrafastbert.bench.engines.files import ModelFile
from ultrafastbert.bench.engines.ways import Way

# What libraries take their number of threads from, where they have no option for it.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
MOST_SHOWN = 200  # characters of an error


class WorkerError(RuntimeError):
    """A process that ended before it answered; the message is the last line of what it said."""


@dataclass
class Worker:
    """A model in an engine, in a process of its own.

    Attributes:
        way, model: what it runs.
        loads: folder of loads.
        threads: for the engine, and for all libraries that it uses.
        import_s, load_s: seconds to import the engine, and to open the model.
    """

    way: Way
    model: ModelFile
    loads: Path
    threads: int
    import_s: float = 0.0
    load_s: float = 0.0
    process: subprocess.Popen[str] = field(init=False, repr=False)

    def __enter__(self) -> "Worker":
        """Start the process and wait until the model is open; WorkerError if it cannot be."""
        settings = {
            "engine": self.way.engine,
            "precision": self.way.precision,
            "operator": self.way.operator,
            "folder": str(self.model.folder),
            "file": self.model.file,
            "loads": str(self.loads),
            "threads": self.threads,
        }
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", worker.__file__, json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._environment(),
                text=True,
            )
        try:
            opened = self._answer()
        except BaseException:
            self._end()
            raise
        self.import_s, self.load_s = opened["import_s"], opened["load_s"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self._end()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Give a command and return the answer; WorkerError where the process ends instead."""
        assert self.process.stdin
        try:
            print(json.dumps(command), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(self._reason()) from None
        return self._answer()

    def vectors(self, load: str, batching: str) -> tuple[np.ndarray, float]:
        """Return the vectors of a load's first batch, (n, H), and the milliseconds they took."""
        path = self._errors.with_suffix(".npy")
        answer = self.ask(do="vectors", load=load, batching=batching, out=str(path))
        return np.load(path), answer["first_ms"]

    @property
    def _errors(self) -> Path:
        return self.loads / f"{id(self)}.log"

    def _environment(self) -> dict[str, str]:
        threads = dict.fromkeys(THREADS, str(self.threads))
        return {**os.environ, **threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(self._reason())
        return json.loads(line)

    def _reason(self) -> str:
        code = self.process.wait()
        said = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if not said:
            return f"its process ended with status {code}"
        return (said[-1].partition("Error: ")[2] or said[-1])[:MOST_SHOWN]

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
