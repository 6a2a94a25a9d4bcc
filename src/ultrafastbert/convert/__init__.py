"""Converting dense encoders: their FF blocks are replaced and learn what the originals did."""

from ultrafastbert.convert.diagnosis.diagnose import DiagnoseConfig, diagnose
from ultrafastbert.convert.distillation.layerwise import RegressionConfig, regress, unexplained
from ultrafastbert.convert.evaluation.speed import bench_converted
from ultrafastbert.convert.in_memory import convert_model
from ultrafastbert.convert.plan import ConvertConfig
from ultrafastbert.convert.recipe import convert
from ultrafastbert.convert.shrinking import shrink
from ultrafastbert.convert.sweep.blocks import SweepConfig
from ultrafastbert.convert.sweep.recipe import sweep
from ultrafastbert.convert.sweep.target import Target

__all__ = [
    "ConvertConfig",
    "DiagnoseConfig",
    "RegressionConfig",
    "SweepConfig",
    "Target",
    "bench_converted",
    "convert",
    "convert_model",
    "diagnose",
    "regress",
    "shrink",
    "sweep",
    "unexplained",
]
