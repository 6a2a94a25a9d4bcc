"""Converting dense encoders: their FF blocks are replaced and learn what the originals did."""

from ultrafastbert.convert.plan import ConvertConfig
from ultrafastbert.convert.recipe import convert
from ultrafastbert.convert.regression import RegressionConfig, regress, unexplained
from ultrafastbert.convert.sweep import Target, sweep
from ultrafastbert.convert.sweep_blocks import SweepConfig

__all__ = [
    "ConvertConfig",
    "RegressionConfig",
    "SweepConfig",
    "Target",
    "convert",
    "regress",
    "sweep",
    "unexplained",
]
