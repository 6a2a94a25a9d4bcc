"""Modules that have another name now: importing one by its old name says where it is."""

import sys
from typing import Any

# Old name -> new name, both as seen from the package. What lay below an old one has moved with it.
MOVED = {
    "activations": "fff.activations",
    "allocator": "cli.allocator",
    "bundled": "inference.bundled",
    "checkpoints": "models.io",
    "cli.shrink": "cli.quantize",
    "convert": "distill",
    "digests": "runs.digests",
    "encode": "inference.encode",
    "export": "inference.engines",
    "fill_mask": "inference.fill_mask",
    "glue": "train.finetune",
    "importing": "models.io.crammed_import",
    "layers": "fff.layer",
    "leaf_bias": "fff.leaf_bias",
    "locks": "runs.locks",
    "models.architectures": "models.converted.architectures",
    "models.card": "models.io.card",
    "models.card_parts": "models.io.card_parts",
    "models.configuration": "models.bert.configuration",
    "models.converted_block": "models.converted.feedforward",
    "models.converted_card": "models.io.converted_card",
    "models.heads": "models.bert.sequence_heads",
    "models.loading": "models.io.checked_loading",
    "models.modeling": "models.bert.modeling",
    "models.multiple_choice": "models.bert.sequence_heads",
    "models.pooled": "models.bert.sequence_heads",
    "models.pooling": "models.bert.pooling",
    "models.saved": "models.io.saved",
    "models.sentence_embedding": "models.bert.sequence_heads",
    "models.token_heads": "models.bert.token_heads",
    "ops": "fff.ops",
    "outputs": "runs.outputs",
    "pretrain": "train.pretrain",
    "quantization": "fff.quantization",
    "quickstart_convert": "quickstart.convert",
    "reference": "fff.reference",
    "resumable": "train.resumable",
    "run_folder": "runs.run_folder",
    "soft": "fff.soft",
    "transforms": "fff.transforms",
    "tree": "fff.tree",
    "usage": "fff.usage",
}
PACKAGE = "ultrafastbert"


def moved_to(name: str) -> str | None:
    """Return the line that says where a module is now, or None for one that has not moved."""
    package, _, old = name.partition(".")
    if package != PACKAGE or old not in MOVED:
        return None
    return f"{name} is now {PACKAGE}.{MOVED[old]}"


class _OldNames:
    """Refuses to find modules by their old names."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        """Raise ModuleNotFoundError for an old name."""
        if message := moved_to(fullname):
            # Without `name`: `from ultrafastbert import ops` would give another error for this one.
            raise ModuleNotFoundError(message)


def refuse_old_names() -> None:
    """Make imports by old names say the new ones."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())
