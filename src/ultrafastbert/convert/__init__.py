"""Converting dense encoders: their FF blocks are replaced and learn what the originals did."""

from ultrafastbert.convert.diagnosis import DiagnoseConfig, diagnose
from ultrafastbert.convert.in_memory import convert_model
from ultrafastbert.convert.plan import ConvertConfig
from ultrafastbert.convert.recipe import convert
from ultrafastbert.convert.regression import RegressionConfig, regress, unexplained

__all__ = [
    "ConvertConfig",
    "DiagnoseConfig",
    "RegressionConfig",
    "convert",
    "convert_model",
    "diagnose",
    "regress",
    "unexplained",
]
