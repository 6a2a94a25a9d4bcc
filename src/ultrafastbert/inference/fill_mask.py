"""Filling masks with a model: by ONNX Runtime if it is exported, or PyTorch."""

from pathlib import Path

from ultrafastbert_runtime import FillMask
from ultrafastbert_runtime.folder import has_model

from ultrafastbert.data.text_collections import checked_text

Guesses = list[tuple[str, float]]


def fill_mask(model_dir: str | Path, text: str, top: int = 5) -> list[Guesses]:
    """Return for each [MASK] of a text the `top` likeliest tokens with their probabilities.

    A folder with `model.onnx` runs in ONNX Runtime, any other in PyTorch.

    Raises ValueError unless `text` is one text with a mask, no longer than the model reads.
    """
    text = checked_text(text, "text")
    if top < 1:
        raise ValueError(f"top={top} must be at least 1")
    return (_by_runtime if has_model(model_dir) else _by_torch)(model_dir, text, top)


def _by_runtime(model_dir: str | Path, text: str, top: int) -> list[Guesses]:
    found = FillMask(model_dir)(text, top)
    masks = [found] if isinstance(found[0], dict) else found
    return [[(guess["token_str"], guess["score"]) for guess in guesses] for guesses in masks]


def _by_torch(model_dir: str | Path, text: str, top: int) -> list[Guesses]:
    import torch
    from transformers import AutoModelForMaskedLM

    from ultrafastbert.data.tokenizer import load_tokenizer
    from ultrafastbert.models.io.saved import load_complete

    tokenizer = load_tokenizer(model_dir)
    if tokenizer.mask_token not in text:
        raise ValueError(
            f"text={text!r} has no {tokenizer.mask_token} to fill; put it in the place of a word"
        )
    model = load_complete(AutoModelForMaskedLM, model_dir).eval()
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[inputs["input_ids"] == tokenizer.mask_token_id]
    if not logits.isfinite().all():
        raise ValueError(
            f"the logits of the model in {model_dir} are not finite; check its weights"
        )
    probabilities, tokens = logits.softmax(-1).topk(min(top, logits.shape[-1]))  # (masks, top)
    return [
        [(str(tokenizer.decode(token)), p.item()) for token, p in zip(row, values, strict=True)]
        for row, values in zip(tokens, probabilities, strict=True)
    ]
