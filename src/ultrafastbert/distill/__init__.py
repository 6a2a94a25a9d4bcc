"""Distillation: dense encoders get fast FF layers, which learn the outputs of the originals."""

from ultrafastbert.imports.extras import require

require("accelerate", "datasets", "scipy", "sklearn")

from ultrafastbert.distill.config import ConvertConfig
from ultrafastbert.distill.diagnose import DiagnoseConfig, diagnose
from ultrafastbert.distill.in_memory import convert_model
from ultrafastbert.distill.layerwise import RegressionConfig, fvu, regress
from ultrafastbert.distill.recipe import convert
from ultrafastbert.distill.sweep.config import SweepConfig
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
    "fvu",
    "regress",
    "sweep",
]
