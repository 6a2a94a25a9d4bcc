"""Running trained models: sentence embeddings, filling masks, quantizing, other engines."""

from typing import TYPE_CHECKING

from ultrafastbert.imports.lazy import lazy_names

if TYPE_CHECKING:
    from ultrafastbert.inference.optimized.model import load_optimized, optimize
else:
    __getattr__, __dir__ = lazy_names(__name__, {"optimized.model": ["load_optimized", "optimize"]})

__all__ = ["load_optimized", "optimize"]
