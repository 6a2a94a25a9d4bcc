"""The sentence encoder of the package `ultrafastbert-minilm`: all-MiniLM-L6-v2, converted."""

from ultrafastbert_runtime.bundled import bundled_model

__all__ = ["bundled_model"]
