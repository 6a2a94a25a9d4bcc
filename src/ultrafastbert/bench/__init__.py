"""Benchmarks: what is timed, and against which baseline."""

from ultrafastbert.bench.layer import LayerBenchConfig, bench_layer
from ultrafastbert.bench.model import ModelBenchConfig, bench_model

__all__ = ["LayerBenchConfig", "ModelBenchConfig", "bench_layer", "bench_model"]
