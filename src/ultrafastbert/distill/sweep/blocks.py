"""The blocks of a sweep: every member of the family learns every layer, for a short time."""

import itertools
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from ultrafastbert import rows
from ultrafastbert.data.sampling import Text, texts_of
from ultrafastbert.data.text import Source
from ultrafastbert.distill.layerwise import RegressionConfig, layer_row, regress
from ultrafastbert.distill.plan import tokens_of, training_of
from ultrafastbert.distill.sweep.allocation import Members
from ultrafastbert.distill.sweep.held_out import HeldOut
from ultrafastbert.distill.sweep.variants import with_blocks
from ultrafastbert.distill.teacher.capture import Captured, capture
from ultrafastbert.models.bert.configuration import parse_ffn
from ultrafastbert.models.converted.architectures import layers_of
from ultrafastbert.models.converted.feedforward import ConvertedBlock
from ultrafastbert.models.converted.folder import check_encoder, open_dense
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.runs.status import Status, counting


@dataclass(frozen=True)
class SweepConfig:
    """What is tried in every layer, and how.

    Attributes:
        members: what may replace an FF block: KxD or KxDxL, `ff:WIDTH` for a dense layer, `none`
            for its mean output. Keeping the block is always possible.
        block: where the FF block sits, as in `ConvertConfig`.
        tokens: how much of the text is run through the model, to train on; a twenty-fifth of it
            more is held out, to measure on.
        max_length: tokens of a text, or a pair, that are read.
        steps, batch_tokens: of each block's training, see `RegressionConfig`. Few are enough to
            compare.
        seed: of everything drawn.

    Raises:
        ValueError: for values that do not fit; the message names them.
    """

    members: tuple[str, ...] = ("1x4x8", "1x6x16", "1x6x40")
    block: str | None = None
    tokens: int = 500_000
    max_length: int = 128
    steps: int = 500
    batch_tokens: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.members or len(set(self.members)) < len(self.members):
            raise ValueError(f"members={self.members} must be one or more, each named once")
        for member in self.members:
            if parse_ffn(member)["ffn_type"] == "glu":
                raise ValueError(f"members={member!r} is gated; write KxDxL, ff:WIDTH or none")
        for name in ("tokens", "max_length", "steps", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    @property
    def trained(self) -> tuple[str, ...]:
        """Members, and `none`: the floor is always measured, whether it may be chosen or not."""
        return tuple(dict.fromkeys((*self.members, "none")))

    def training(self, member: str) -> RegressionConfig:
        """Return how a member is trained."""
        return training_of(member, self.steps, self.batch_tokens, self.seed)


class SweepBlocks:
    """Blocks in a folder, and models with them.

    Attributes:
        teacher, tokenizer: the original.
        n_layers: of the original.
        work: folder for what is needed while the sweep goes on.
        rows_path: where rows are.
    """

    def __init__(
        self,
        config: SweepConfig,
        model_dir: Path,
        text: Source,
        out_dir: Path,
        on_status: Status,
    ):
        self.config, self.text, self.on_status = config, text, on_status
        self.work, self.rows_path = out_dir / "work", out_dir / "rows.jsonl"
        dense = open_dense(model_dir, config.max_length, config.block)
        check_encoder(dense.model, dense.sample)
        self.teacher, self.tokenizer, self.place = dense.model, dense.tokenizer, dense.block
        self.n_layers, self.hidden_size = len(dense.numbers), dense.model.config.hidden_size
        self.norms = dense.norms
        self.blocks: dict[tuple[int, str], ConvertedBlock] = {}
        for member in config.trained:
            ConvertedBlock(self.hidden_size, member)  # what cannot be made is an error now

    def rows(self, kind: str) -> list[rows.Row]:
        """Return the rows of a kind so far."""
        return rows.read_rows(self.rows_path, kind) if self.rows_path.exists() else []

    def train(self) -> None:
        """Train the blocks that are not trained yet, each with a row of kind `convert_layer`."""
        done = {(row["layer"], row["ffn"]) for row in self.rows("convert_layer")}
        cases = itertools.product(range(self.n_layers), self.config.trained)
        if left := [case for case in cases if case not in done]:
            train, validation = self._captured("train"), self._captured("validation")
            for layer, member in left:
                self._train(layer, member, train[layer], validation[layer])
        for part in ("train", "validation"):
            shutil.rmtree(self.work / part, ignore_errors=True)

    def _captured(self, part: str) -> dict[int, Captured]:
        config = self.config
        self.on_status("reading text", 0, None)
        return capture(
            self.teacher,
            self.tokenizer,
            self._held_out_texts if part == "validation" else texts_of(self.text, False),
            tokens_of(part, config.tokens),
            range(self.n_layers),
            self.work / part,
            config.max_length,
            self.on_status,
            self.place,
        )

    @cached_property
    def _held_out_texts(self) -> list[Text]:
        return texts_of(self.text, True)

    @cached_property
    def held_out(self) -> HeldOut:
        """Held-out text, and what the original makes of it."""
        self.on_status("running the original on held-out text", 0, None)
        texts = self._held_out_texts
        return HeldOut(self.teacher, self.tokenizer, texts, self.config.max_length)

    def _train(self, layer: int, member: str, train: Captured, validation: Captured) -> None:
        block, training = ConvertedBlock(self.hidden_size, member), self.config.training(member)
        on_step = counting(self.on_status, f"layer {layer}: {member}", training.steps)
        regress(block, train, training, on_step, self.norms[layer])
        save_file(block.state_dict(), self._weights(layer, member))
        row = layer_row(member, layer, block, training, validation, self.norms[layer])
        rows.append_row(self.rows_path, row | {"unexplained_states": self._effect(layer, block)})

    def _effect(self, layer: int, block: ConvertedBlock) -> float:
        """Return what one block does to the last hidden states of the model."""
        alone = [block if number == layer else None for number in range(self.n_layers)]
        return self.held_out.unexplained_states(with_blocks(self.teacher, self.place, alone))

    def _weights(self, layer: int, member: str) -> Path:
        return self.work / f"layer{layer}.{self.name((member,))}.safetensors"

    @staticmethod
    def name(members: Members) -> str:
        """Return how files and folders of what is made of members are named."""
        return "-".join((member or "original").replace(":", "") for member in members)

    def _block(self, layer: int, member: str) -> ConvertedBlock:
        if (layer, member) not in self.blocks:
            block = ConvertedBlock(self.hidden_size, member)
            block.load_state_dict(load_file(self._weights(layer, member)))
            self.blocks[layer, member] = block.eval()
        return self.blocks[layer, member]

    def variant(self, members: Members) -> PreTrainedModel:
        """Return a model with members in its layers, to be measured: it shares all weights."""
        blocks = [self._block(layer, m) if m else None for layer, m in enumerate(members)]
        return with_blocks(self.teacher, self.place, blocks)

    def converted(self, members: Members) -> PreTrainedModel:
        """Return a model with members in its layers, to be saved."""
        model = converted_copy(self.teacher, members, self.place)
        for number, member in enumerate(members):
            if member:
                new = layers_of(model, self.place)[number].get_submodule(self.place.first)
                new.load_state_dict(self._block(number, member).state_dict())
        return model
