"""Autocast to bfloat16 where the processor computes in it: 3 to 4 times faster than float32."""

import torch
from torch import nn

from ultrafastbert.fff.machine import bf16_supported
from ultrafastbert.models.converted.configuration import original_type

# DeBERTa masks attention with the least float32, which bfloat16 cannot hold.
FLOAT32_ONLY = {"deberta"}


def autocast(enabled: bool = True) -> torch.autocast:
    """Return a context with bfloat16 matrix products, where the processor has them."""
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled and bf16_supported("cpu"))


def autocast_of(model: nn.Module) -> torch.autocast:
    """Return `autocast` for a model, disabled where its code needs float32.

    It is disabled for float16 models, too: their norms do not read float32.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", "")
    is_half = any(parameter.dtype == torch.float16 for parameter in model.parameters())
    return autocast(original_type(model_type) not in FLOAT32_ONLY and not is_half)
