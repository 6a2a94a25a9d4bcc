"""Turns a time budget into a token budget, by the speed measured before the run."""

import dataclasses
import json
import os
import time
from pathlib import Path

import torch

from ultrafastbert.models import UltraFastBertForMaskedLM
from ultrafastbert.runs import run_folder
from ultrafastbert.train.pretrain.recipes import PretrainConfig

# Of the time given; the rest is for checkpoints and validation.
TRAINING_SHARE = 0.9
MEASURED_STEPS = 4


def tokens_for_minutes(
    config: PretrainConfig, minutes: float, seq_length: int, run_dir: Path
) -> PretrainConfig:
    """Return the configuration with the tokens that `minutes` allow on this machine.

    A run that left a checkpoint or results keeps the budget it started with.
    Raises ValueError unless `minutes` is positive, and where several processes train together.
    """
    if minutes <= 0:
        raise ValueError(f"minutes={minutes} must be positive")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "minutes is for one process; where several train together, give a budget of tokens"
        )
    record = run_dir / "run.json"
    if record.exists() and run_folder.result_of(run_dir) is not None:
        tokens = json.loads(record.read_text(encoding="utf-8"))["budget_tokens"]
    else:
        tokens = int(tokens_per_second(config, seq_length) * 60 * minutes * TRAINING_SHARE)
    return dataclasses.replace(config, budget_tokens=max(tokens, 1))


def tokens_per_second(config: PretrainConfig, seq_length: int) -> float:
    """Return the speed of training a new model on random tokens, measured over a few steps."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = UltraFastBertForMaskedLM(config.model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    n_rows = min(config.batch_size, config.micro_batch_size)
    ids = torch.randint(5, config.model.vocab_size, (n_rows, seq_length), device=device)
    labels = torch.where(torch.rand(ids.shape, device=device) < config.mlm_probability, ids, -100)
    for step in range(MEASURED_STEPS + 1):
        if step == 1:  # the first one warms up
            start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=config.uses_bf16):
            loss = model(ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for an accelerator
    return MEASURED_STEPS * n_rows * seq_length / (time.perf_counter() - start)
