"""Tiny random models of the architectures that convert, and batches for them."""

import torch
import transformers
from transformers import AutoModel

from ultrafastbert.models.converted.architectures import layers_of

# Sizes by the names that configurations have for them.
SIZES = """
hidden_size embedding_size embedding_dim dim d_model n_embd emb_dim: 16
num_hidden_layers n_layers n_layer encoder_layers decoder_layers: 2
num_attention_heads n_heads n_head encoder_attention_heads decoder_attention_heads: 2
num_key_value_heads: 2
intermediate_size hidden_dim encoder_ffn_dim decoder_ffn_dim image_size: 32
vocab_size: 250
attention_window: 4
"""

TOKENS = {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "cls", "sep")}

BERT_LIKE = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie", "mpnet", "deberta"]

BERT_LIKE += ["deberta-v2", "longformer", "esm"]

GATED = ["modernbert", "nomic_bert", "eurobert", "llama"]

OTHERS = ["distilbert", "albert", "xlm", "gpt2", "mixtral", "clip_text_model"]

VISION = ["vit", "deit", "beit", "dinov2"]


def tiny_model(model_type="bert", auto_class=AutoModel):
    torch.manual_seed(0)
    original = transformers.CONFIG_MAPPING[model_type]
    default = original()
    lines = [line.split(":") for line in SIZES.strip().splitlines()]
    sizes = {name: int(size) for names, size in lines for name in names.split()}
    known = {name: size for name, size in sizes.items() if hasattr(default, name)}
    return auto_class.from_config(original(**known | TOKENS)).eval()


def batch_for(model, n_texts=2):
    generator = torch.Generator().manual_seed(0)
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(n_texts, 3, 32, 32, generator=generator)}
    ids = torch.randint(5, 250, (n_texts, 8), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def strengthen(model, location):
    """Give FF layers weight: those of random models add next to nothing."""
    with torch.no_grad():
        for layer in layers_of(model, location):
            for weight in layer.get_submodule(location.first).parameters():
                weight.mul_(20)
