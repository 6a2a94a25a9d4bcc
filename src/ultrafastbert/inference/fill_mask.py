"""Filling masks with a saved model."""

from pathlib import Path

import torch
from transformers import AutoModelForMaskedLM

from ultrafastbert.data.text_collections import checked_text
from ultrafastbert.data.tokenizer import load_tokenizer
from ultrafastbert.models.io.saved import load_complete

Guesses = list[tuple[str, float]]


@torch.no_grad()
def fill_mask(model_dir: str | Path, text: str, top: int = 5) -> list[Guesses]:
    """Return for each [MASK] of a text the `top` likeliest tokens with their probabilities.

    Raises ValueError unless `text` is one text with a mask, no longer than the model reads.
    """
    text = checked_text(text, "text")
    tokenizer = load_tokenizer(model_dir)
    if tokenizer.mask_token not in text:
        raise ValueError(
            f"text={text!r} has no {tokenizer.mask_token} to fill; put it in the place of a word"
        )
    if top < 1:
        raise ValueError(f"top={top} must be at least 1")
    model = load_complete(AutoModelForMaskedLM, model_dir).eval()
    inputs = tokenizer(text, return_tensors="pt")
    logits = model(**inputs).logits[inputs["input_ids"] == tokenizer.mask_token_id]  # (masks, V)
    if not logits.isfinite().all():
        raise ValueError(
            f"the logits of the model in {model_dir} are not finite; check its weights"
        )
    probabilities, tokens = logits.softmax(-1).topk(min(top, logits.shape[-1]))
    return [
        [(str(tokenizer.decode(token)), p.item()) for token, p in zip(row, values, strict=True)]
        for row, values in zip(tokens, probabilities, strict=True)
    ]
