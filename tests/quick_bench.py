"""Small benchmarks, and a machine that is measured in no time."""

from contextlib import contextmanager

import pytest

from ultrafastbert import UltraFastBertConfig
from ultrafastbert.bench import LayerBenchConfig, bench_layer, machine
from ultrafastbert.rows.layers import MachineRow

QUICK = {"hidden_size": 32, "threads": (1,), "seconds": 0.01}

needs_native = pytest.mark.skipif(not machine.is_available(), reason="no native core")


@contextmanager
def quick_machine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "SECONDS", 1e-3)
        patch.setattr(machine, "ATTEMPTS", 1)
        patch.setattr(machine, "cache_bytes", lambda: (2**16, 2**18))
        yield


def quick_model(**options):
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return UltraFastBertConfig(**{**sizes, "tree_depth": 3, "leaf_size": 2, **options})


def bench_quickly(family, **options):
    found = bench_layer(LayerBenchConfig(family, **{**QUICK, **options}))
    return [row for row in found if not isinstance(row, MachineRow)]
