"""Whole encoders as they are deployed: in every engine, each in a process of its own.

`models` has what is compared, `ways` the engines, `files` what they open, `loads` what they encode;
`worker` is the process, `workers` its other end, `turns` times them one after the other, and
`benchmark` makes rows of all that.
"""

from ultrafastbert.bench.engines.benchmark import EnginesBenchConfig, bench_engines

__all__ = ["EnginesBenchConfig", "bench_engines"]
