"""An exported model as a module of PyTorch, run by ONNX Runtime. Sizes: B batch, S sequence."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from ultrafastbert.inference.engines.program import PRODUCER
from ultrafastbert.inference.engines.runtimes import open_session

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

# Of a file's beginning, where its producer is named.
HEAD_BYTES = 256


def is_exported(path: Path) -> bool:
    """Return whether a file is there and `export_onnx` wrote it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return PRODUCER.encode() in file.read(HEAD_BYTES)


class ExportedModel(nn.Module):
    """A model of `export_onnx` that is called as the model of transformers is, for inference.

    Args:
        path: of `model.onnx`.
        config: of the model.
        options: of the ONNX Runtime session, such as its threads; our operator is added.
    """

    def __init__(
        self, path: Path, config: PreTrainedConfig, options: "SessionOptions | None" = None
    ):
        super().__init__()
        self.path, self.config = path, config
        self.session = open_session(path, options=options)
        self.input_names = [each.name for each in self.session.get_inputs()]
        self.output_names = [each.name for each in self.session.get_outputs()]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        **_: Any,
    ) -> dict[str, Tensor]:
        """Return the outputs by name, of tokens and their mask (B, S) or of images.

        A mask that is not given hides nothing, token types are 0.
        """
        given = {"input_ids": input_ids, "pixel_values": pixel_values}
        main = next(x for x in given.values() if x is not None)
        given["attention_mask"] = (
            torch.ones_like(main) if attention_mask is None else attention_mask
        )
        given["token_type_ids"] = (
            torch.zeros_like(main) if token_type_ids is None else token_type_ids
        )
        feed = {name: np.asarray(torch.as_tensor(given[name]).cpu()) for name in self.input_names}
        outputs: Any = self.session.run(self.output_names, feed)
        named = zip(self.output_names, outputs, strict=True)
        return {name: torch.from_numpy(output).to(main.device) for name, output in named}

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Copy the file, with its weights and configuration, to a folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        for file in self.path.parent.glob(f"{self.path.name}*"):
            shutil.copyfile(file, Path(folder) / file.name)
