"""Benchmarks: what is timed, and against which baseline."""

from ultrafastbert.imports.extras import require

require("scipy", "threadpoolctl")

from ultrafastbert.bench.converted import bench_converted
from ultrafastbert.bench.engines import EnginesBenchConfig, bench_engines
from ultrafastbert.bench.layer import LayerBenchConfig, bench_layer
from ultrafastbert.bench.model import ModelBenchConfig, bench_model
from ultrafastbert.bench.width import WidthBenchConfig, bench_width

__all__ = [
    "EnginesBenchConfig",
    "LayerBenchConfig",
    "ModelBenchConfig",
    "WidthBenchConfig",
    "bench_converted",
    "bench_engines",
    "bench_layer",
    "bench_model",
    "bench_width",
]
