"""Load a checkpoint in the format of the published UltraFastBERT: the same numbers, faster.

    python examples/load_published.py

No network: a tiny model is written in that format first. `ultrafastbert import` does the same.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForMaskedLM

from ultrafastbert import UltraFastBertConfig, UltraFastBertForMaskedLM
from ultrafastbert.models.io.crammed_export import export_crammed

TOKENS = torch.arange(5, 69)[None]  # (1, 64)


@torch.no_grad()
def main() -> None:
    """Print the class and the layer of the loaded model, and the difference of its outputs."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = UltraFastBertForMaskedLM(UltraFastBertConfig(vocab_size=500, **sizes)).eval()  # 1x11
    with TemporaryDirectory() as name:
        ours, published = Path(name) / "ours", Path(name) / "published"
        model.save_pretrained(ours)
        export_crammed(ours, published)  # config.json of model type crammedBERT
        loaded = AutoModelForMaskedLM.from_pretrained(published).eval()
    config = loaded.config
    print(
        f"{type(loaded).__name__} with {config.ffn_name}, {config.n_active} of {config.n_neurons}"
    )
    print(f"largest difference: {(loaded(TOKENS).logits - model(TOKENS).logits).abs().max():.0e}")


if __name__ == "__main__":
    main()
