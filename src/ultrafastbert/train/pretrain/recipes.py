"""Recipes of masked-language-model pretraining: functions that return a `PretrainConfig`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ultrafastbert.fff.machine import bf16_supported
from ultrafastbert.models import UltraFastBertConfig
from ultrafastbert.models.bert.configuration import parse_ffn


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the outcome of a pretraining run, apart from the text.

    Attributes:
        model: the model's configuration (without dropout: crammedBERT pretrains without).
        budget_tokens: tokens to read in all.
        batch_size: rows of an optimizer step at the end of the ramp.
        first_batch_size: rows of the first step; 0 for an eighth of `batch_size`.
        micro_batch_size: rows that one forward pass may hold; larger steps are accumulated.
        ramp_fraction: share of the budget over which the batch grows.
        learning_rate: at the peak of the triangular schedule.
        peak_fraction: share of the budget at which the peak comes.
        adam_beta1, adam_beta2, adam_epsilon, weight_decay: AdamW's; norms, biases and scales do
            not decay.
        max_grad_norm: gradients are clipped to this norm.
        mlm_probability: share of tokens to predict.
        seed: of the initial weights, the order of rows and the masks.
        bf16: autocast to bfloat16; None for wherever the processor computes in it.
    """

    model: UltraFastBertConfig
    budget_tokens: int
    batch_size: int
    first_batch_size: int = 0
    micro_batch_size: int = 128
    ramp_fraction: float = 0.6
    learning_rate: float = 1e-3
    peak_fraction: float = 0.5
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    adam_epsilon: float = 1e-12
    weight_decay: float = 0.01
    max_grad_norm: float = 0.5
    mlm_probability: float = 0.25
    seed: int = 0
    bf16: bool | None = None

    def __post_init__(self):
        if self.first_batch_size == 0:
            object.__setattr__(self, "first_batch_size", max(1, self.batch_size // 8))
        positive = ("budget_tokens", "batch_size", "first_batch_size", "micro_batch_size")
        for name in (*positive, "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if not 0 <= self.ramp_fraction <= 1:
            raise ValueError(f"ramp_fraction={self.ramp_fraction} must be between 0 and 1")
        if not 0 < self.peak_fraction < 1:
            raise ValueError(f"peak_fraction={self.peak_fraction} must be between 0 and 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative")

    @property
    def uses_bf16(self) -> bool:
        """Whether forward passes run under bfloat16 autocast here."""
        return bf16_supported() if self.bf16 is None else self.bf16


Recipe = Callable[..., PretrainConfig]
NO_DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def crammed(ffn: str = "1x11", vocab_size: int = 32768, **changes: Any) -> PretrainConfig:
    """The paper's model and recipe: 16 layers of 768, batches of 8192 rows of 128 tokens.

    The paper spends a day of one A6000; at 500 million tokens an hour that is this budget
    (arXiv 2311.10770, section 3.1; arXiv 2212.14034, section 4).
    """
    model = UltraFastBertConfig(vocab_size=vocab_size, **parse_ffn(ffn), **NO_DROPOUT)
    defaults: dict[str, Any] = {
        "budget_tokens": 12_000_000_000,
        "batch_size": 8192,
        "first_batch_size": 128,
    }
    return PretrainConfig(model, **(defaults | changes))


def small(ffn: str = "1x7x32", vocab_size: int = 8192, **changes: Any) -> PretrainConfig:
    """4 layers of 256 for a few million tokens: under an hour on two cores."""
    model = UltraFastBertConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        classifier_hidden_size=256,
        initializer_range=256**-0.5,  # at 0.02, positions would outweigh words at the start
        position_embedding_type="rotary",
        **parse_ffn(ffn),
        **NO_DROPOUT,
    )
    defaults: dict[str, Any] = {
        "budget_tokens": 10_000_000,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "peak_fraction": 0.25,
    }
    return PretrainConfig(model, **(defaults | changes))


def tiny(ffn: str = "1x5x16", vocab_size: int = 4096, **changes: Any) -> PretrainConfig:
    """2 layers of 128 for a million tokens: a minute on two cores."""
    model = UltraFastBertConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        classifier_hidden_size=128,
        initializer_range=128**-0.5,
        position_embedding_type="rotary",
        **parse_ffn(ffn),
        **NO_DROPOUT,
    )
    defaults: dict[str, Any] = {
        "budget_tokens": 1_000_000,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "peak_fraction": 0.25,
    }
    return PretrainConfig(model, **(defaults | changes))


RECIPES: dict[str, Recipe] = {"crammed": crammed, "small": small, "tiny": tiny}


def get_recipe(name: str) -> Recipe:
    """Return the recipe called `name`; ValueError with the names there are for any other."""
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is unknown; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
