"""Model cards: the README.md of a saved model, from what its folder holds."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.converted.architectures import PREFIX
from ultrafastbert.models.io.bert_card import compose_bert
from ultrafastbert.models.io.converted_card import compose_converted

# Ends a card of ours. Where the digest does not fit the text, somebody edited it: it is kept.
SIGNATURE = re.compile(r"\n<!-- written by ultrafastbert, renewed until edited: (\w+) -->\n$")


class WithCard(PreTrainedModel):
    """A model that is saved with its card."""

    def save_pretrained(
        self, save_directory: Any, is_main_process: bool = True, *args: Any, **options: Any
    ) -> None:
        """Save the model, with a model card where nobody wrote a README.md."""
        super().save_pretrained(save_directory, is_main_process, *args, **options)
        if is_main_process:
            write_card(save_directory)


def write_card(folder: str | Path, results: str = "") -> bool:
    """Write the README.md of a folder that holds a saved model; return whether it did.

    `results` is Markdown, with headings from level 2. A README.md that somebody wrote or edited is
    kept, and folders of other models are left alone. Raises OSError if the folder has no
    configuration or cannot be written to.
    """
    path = Path(folder) / "README.md"
    stored, _ = UltraFastBertConfig.get_config_dict(folder)
    compose = _composer(stored.get("model_type") or "")
    if compose is None:
        return False
    if path.exists() and not is_ours(path.read_text(encoding="utf-8", errors="replace")):
        return False
    path.write_text(_sign(_encodable(compose(Path(folder), results))), encoding="utf-8")
    return True


def _encodable(text: str) -> str:
    """Escape what UTF-8 cannot hold: names of files may have undecodable bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _composer(model_type: str) -> Callable[[Path, str], str] | None:
    """Return the function that composes cards of a model type; None for models of others."""
    if model_type == UltraFastBertConfig.model_type:
        return compose_bert
    return compose_converted if model_type.startswith(PREFIX) else None


def is_ours(text: str) -> bool:
    """Return whether a README was written here and not edited since."""
    signature = SIGNATURE.search(text)
    return signature is not None and text == _sign(text[: signature.start()])


def _sign(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}\n<!-- written by ultrafastbert, renewed until edited: {digest} -->\n"
