"""Converting dense encoders: their FF blocks are replaced and learn what the originals did."""

from ultrafastbert.distill.diagnose import DiagnoseConfig, diagnose
from ultrafastbert.distill.in_memory import convert_model
from ultrafastbert.distill.layerwise import RegressionConfig, regress, unexplained
from ultrafastbert.distill.plan import ConvertConfig
from ultrafastbert.distill.recipe import convert
from ultrafastbert.distill.sweep.blocks import SweepConfig
from ultrafastbert.distill.sweep.recipe import sweep
from ultrafastbert.distill.sweep.target import Target

__all__ = [
    "ConvertConfig",
    "DiagnoseConfig",
    "RegressionConfig",
    "SweepConfig",
    "Target",
    "convert",
    "convert_model",
    "diagnose",
    "regress",
    "sweep",
    "unexplained",
]
