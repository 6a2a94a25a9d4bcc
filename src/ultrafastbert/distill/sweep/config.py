"""What a sweep tries in every layer, and how."""

from dataclasses import dataclass

from ultrafastbert.distill.candidates import training_of
from ultrafastbert.distill.config import check_least
from ultrafastbert.distill.layerwise import RegressionConfig
from ultrafastbert.models.bert.configuration import parse_ffn


@dataclass(frozen=True)
class SweepConfig:
    """What is tried in every layer, and how.

    Attributes:
        candidates: what may replace an FF layer: KxD or KxDxL, `ff:WIDTH` for a dense layer, `none`
            for its mean output. Keeping the original is always possible.
        ff_location: where FF layers sit, as in `ConvertConfig`.
        tokens: how much of the text is run through the model, to train on; a twenty-fifth of it
            more is held out, to measure on.
        max_length: tokens of a text, or a pair, that are read.
        steps, batch_tokens: of each layer's training, see `RegressionConfig`. Few are enough to
            compare.
        seed: of everything drawn.

    Raises:
        ValueError: for values that do not fit; the message names them.
    """

    candidates: tuple[str, ...] = ("1x4x8", "1x6x16", "1x6x40")
    ff_location: str | None = None
    tokens: int = 500_000
    max_length: int = 128
    steps: int = 500
    batch_tokens: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.candidates or len(set(self.candidates)) < len(self.candidates):
            raise ValueError(f"candidates={self.candidates} must be one or more, each named once")
        for candidate in self.candidates:
            if parse_ffn(candidate)["ffn_type"] == "glu":
                raise ValueError(
                    f"candidates={candidate!r} is gated; write KxDxL, ff:WIDTH or none"
                )
        check_least(self, dict.fromkeys(("tokens", "max_length", "steps", "batch_tokens"), 1))

    @property
    def trained(self) -> tuple[str, ...]:
        """Candidates, and `none`: what no FF layer costs is always measured."""
        return tuple(dict.fromkeys((*self.candidates, "none")))

    def training(self, candidate: str) -> RegressionConfig:
        """Return how a candidate is trained."""
        return training_of(candidate, self.steps, self.batch_tokens, self.seed)
