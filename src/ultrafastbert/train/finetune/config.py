"""How a model is fine-tuned."""

from dataclasses import dataclass

_SHORTEST = 8  # tokens: room for some text beside the special tokens of a pair


@dataclass(frozen=True)
class GlueConfig:
    """Everything that decides a fine-tuning result, apart from model and data.

    Epochs, learning rate, batch size and schedule default to those of arXiv 2311.10770.

    Attributes:
        epochs: passes over the training rows; None for the task's own (5, CoLA 15).
        learning_rate: at the end of the warm-up; a cosine from there to 0.
        batch_size: rows of a step.
        warmup_ratio: share of the steps over which the learning rate rises.
        weight_decay: AdamW's; norms, biases and scales do not decay.
        max_grad_norm: gradients are clipped to this norm.
        max_seq_length: longer inputs are cut, in tokens.
        seeds: one result each; of the head's weights, the order of rows and dropout.
        dropout: replaces all dropout rates of the model.
        bf16: autocast to bfloat16; None for wherever the processor computes in it.
        max_train_rows: most rows to train on (the same random rows for every seed).

    Raises:
        ValueError: for values out of range; the message names them.
    """

    epochs: int | None = None
    learning_rate: float = 4e-5
    batch_size: int = 16
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    max_seq_length: int = 128
    seeds: tuple[int, ...] = (0,)
    dropout: float = 0.1
    bf16: bool | None = None
    max_train_rows: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "batch_size", "max_grad_norm", "max_train_rows"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value} must be positive")
        for name in ("warmup_ratio", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay={self.weight_decay} must not be negative")
        if self.max_seq_length < _SHORTEST:
            raise ValueError(f"max_seq_length={self.max_seq_length} must be at least {_SHORTEST}")
        if not self.seeds or min(self.seeds) < 0:
            raise ValueError(f"seeds={self.seeds} must be one or more integers, none negative")
