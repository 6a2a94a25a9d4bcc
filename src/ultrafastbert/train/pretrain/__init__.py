"""Masked-language-model pretraining by the crammedBERT recipe (arXiv 2212.14034)."""

from ultrafastbert.train.pretrain.recipes import RECIPES, PretrainConfig, get_recipe
from ultrafastbert.train.pretrain.training import evaluate, pretrain

__all__ = ["RECIPES", "PretrainConfig", "evaluate", "get_recipe", "pretrain"]
