"""Initial weights of models that are compared: alike wherever the models are.

In models that read few tokens, the draw of the attention weights decides when attention wakes up,
and moves the loss more than the FF layers do. Models of one seed that differ in their FF layers
would draw different attention weights if all drew from one generator in turn.
"""

import zlib

import torch
from torch import nn
from transformers import PreTrainedModel

from ultrafastbert.fff.dense import FeedForward, GatedFeedForward
from ultrafastbert.fff.layer import FastFeedForward


@torch.no_grad()
def draw_initial_weights(model: PreTrainedModel, seed: int) -> None:
    """Draw the weights of each module, in place, from a generator of the seed and its name.

    Models of one seed start alike in every module that they share. Output weights of FF layers are
    zero, so that at first all these models compute the same, too.
    """
    with torch.random.fork_rng(devices=[]):
        for name, module in model.named_modules():
            torch.manual_seed(zlib.crc32(f"{seed} {name}".encode()))
            model._init_weights(module)
    for module in model.modules():
        if isinstance(module, FastFeedForward):
            nn.init.zeros_(module.w_out)
        elif isinstance(module, FeedForward | GatedFeedForward):
            nn.init.zeros_(module.dense_out.weight)
