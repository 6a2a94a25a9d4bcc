"""Tiny models and a padded batch, for the tests of everything in Hugging Face's manner."""

import torch

from ultrafastbert import UltraFastBertConfig

FFN = {
    "fff": {"tree_depth": 3, "leaf_size": 2, "n_trees": 2, "shared_size": 3},
    "ff": {"intermediate_size": 24},
    "glu": {"intermediate_size": 24},
    "none": {},
}


ROTARY = {"position_embedding_type": "rotary"}


def tiny(ffn_type="fff", **options):
    sizes = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    options = {"classifier_hidden_size": 16, **sizes, **FFN[ffn_type], **options}
    return UltraFastBertConfig(ffn_type=ffn_type, max_position_embeddings=16, **options)


def batch(vocab_size=61):
    torch.manual_seed(1)
    ids = torch.randint(1, vocab_size, (3, 10))
    mask = torch.ones(3, 10, dtype=torch.int64)
    mask[1, 7:] = 0
    mask[2, 4:] = 0
    return ids * mask, mask


def build(model_class, *args, **options):
    torch.manual_seed(0)
    return model_class(tiny(*args, **options)).eval()
