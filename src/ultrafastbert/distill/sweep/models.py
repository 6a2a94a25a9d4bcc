"""The models of a sweep: which choices of candidates are best, how good and fast they are."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property

from ultrafastbert.bench.encoder_latency import SHAPES, latency_fields, time_models
from ultrafastbert.distill.sweep.allocation import (
    Allocation,
    Choice,
    distinct,
    pareto_front,
    within,
)
from ultrafastbert.distill.sweep.layers import SweepLayers
from ultrafastbert.distill.sweep.target import Target
from ultrafastbert.rows.conversion import ConvertLayerRow
from ultrafastbert.rows.models import EncoderTimes
from ultrafastbert.rows.row import shared_fields
from ultrafastbert.rows.sweep import ConvertCandidateRow, ConvertLatencyRow, ConvertSweepRow

# So many evenly spaced models of the front are made, beside those at the times of uniform ones.
N_POINTS = 5
NS_PER_MS = 1e6
# For each candidate: all choices follow from these times, which may differ by a few percent.
CANDIDATE_SECONDS = 4.0


class SweepModels:
    """Whole models out of a sweep's layers, which are all trained."""

    def __init__(self, layers: SweepLayers):
        self.layers, self.on_status = layers, layers.on_status
        candidates = (None, *layers.config.trained)
        self.uniform: list[Choice] = [(candidate,) * layers.n_layers for candidate in candidates]

    def time_uniform(self) -> None:
        """Time models with one candidate in every layer, with a `ConvertCandidateRow` each.

        So a candidate's time is what it takes within the model.
        """
        if self.layers.rows(ConvertCandidateRow):
            return
        self.on_status("timing each candidate in every layer", 0, 1)
        models = {str(choice): self.layers.variant(choice) for choice in self.uniform}
        ids = self.layers.held_out.ids
        timings = time_models(models, SHAPES["text"], ids, CANDIDATE_SECONDS)
        original = timings[str(self.uniform[0])]
        # By ratios, round by round: what slows the whole machine cancels out.
        ratios = [timings[str(choice)].speedup_over(original)[1] for choice in self.uniform]
        new = [
            ConvertCandidateRow(ffn=choice[0], latency_text_ms=1e3 * original.median / ratio)
            for choice, ratio in zip(self.uniform, ratios, strict=True)
        ]
        self.layers.run.append(*new)

    @cached_property
    def _times_ns(self) -> dict[str | None, int]:
        """Time of the model with a candidate in every layer, over its layers."""
        n_layers = self.layers.n_layers
        return {
            row.ffn: round(NS_PER_MS * row.latency_text_ms / n_layers)
            for row in self.layers.rows(ConvertCandidateRow)
        }

    @cached_property
    def _errors(self) -> list[dict[str | None, float]]:
        """What each candidate alone does to the last hidden states, by layer."""
        errors: list[dict[str | None, float]] = [{None: 0.0} for _ in range(self.layers.n_layers)]
        for row in self.layers.rows(ConvertLayerRow):
            assert row.fvu_states is not None
            errors[row.layer][row.ffn] = row.fvu_states
        return errors

    @cached_property
    def front(self) -> list[Allocation]:
        """The best choices, from the fastest on."""
        allowed = (None, *self.layers.config.candidates)
        errors = [{name: layer[name] for name in allowed} for layer in self._errors]
        return pareto_front(errors, self._times_ns)

    def _allocation(self, choice: Choice) -> Allocation:
        error = sum(self._errors[layer_id][name] for layer_id, name in enumerate(choice))
        return Allocation(sum(self._times_ns[name] for name in choice), error, choice)

    def points(self) -> list[Allocation]:
        """Return what to make: one candidate everywhere, the best at those times, and others."""
        uniform = [self._allocation(choice) for choice in self.uniform]
        fastest, slowest = self.front[0].time_ns, self.front[-1].time_ns
        times = [allocation.time_ns for allocation in uniform]
        times += [fastest + (slowest - fastest) * i // N_POINTS for i in range(N_POINTS)]
        best = [within(self.front, time) for time in sorted(times)]
        return distinct([*uniform, *filter(None, best)])

    def planned(self, target: Target) -> Allocation:
        """Return the choice of the front that meets a target; ValueError where none does."""
        if target.explained is not None:
            return self._fastest_that_explains(target.explained)
        original = self._allocation(self.uniform[0]).time_ns
        reached = original / self.front[0].time_ns
        if found := within(self.front, original / target.speedup_among(reached)):
            return found
        raise ValueError(
            f"target_speedup={target.speedup} is out of reach: the fastest choice is "
            f"{reached:.2f} times faster; resume with a lower target, or sweep faster candidates"
        )

    def _fastest_that_explains(self, share: float) -> Allocation:
        """Return the first of the front that does, by bisection.

        Summed errors show which choices are best, but not how good a whole model is.
        """

        def explains(allocation: Allocation) -> bool:
            self.on_status("looking for the fastest model that explains enough", 0, 1)
            model = self.layers.variant(allocation.choice)
            return 1 - self.layers.held_out.fvu(model) >= share

        return self.front[bisect_left(self.front, True, key=explains)]

    def choose(self, target: Target) -> Choice:
        """Return the best model that was measured, by what was measured.

        The fastest one where none is as fast as was planned.
        """
        allowed = {None, *self.layers.config.candidates}
        models = [r for r in self.layers.rows(ConvertSweepRow) if allowed.issuperset(r.ffn)]
        fastest = max(models, key=_speedup)
        if target.explained is not None:
            good = [row for row in models if 1 - row.fvu_states >= target.explained]
            best = max(good, key=_speedup)
        else:
            good = [r for r in models if _speedup(r) >= target.speedup_among(_speedup(fastest))]
            best = min(good, key=lambda row: row.fvu_states, default=fastest)
        return best.ffn

    def measure(self, allocations: Sequence[Allocation]) -> None:
        """Measure models, each with a `ConvertSweepRow`, beside the original."""
        done = {row.ffn for row in self.layers.rows(ConvertSweepRow)}
        left = [a for a in distinct(allocations) if a.choice not in done]
        latencies = self._latencies([allocation.choice for allocation in left])
        for n_done, allocation in enumerate(left):
            self.on_status("measuring models", n_done, len(left))
            row = ConvertSweepRow(
                ffn=allocation.choice,
                predicted_ms=allocation.time_ns / NS_PER_MS,
                summed_error=allocation.error,
                **asdict(self.layers.config),
                **self.layers.quality(self.layers.variant(allocation.choice)),
                **shared_fields(latencies[allocation.choice], EncoderTimes),
            )
            self.layers.run.append(row)

    def _latencies(self, wanted: Sequence[Choice]) -> dict[Choice, ConvertLatencyRow]:
        """Return the times of models, measured together with the original or read."""
        found = {row.ffn: row for row in self.layers.rows(ConvertLatencyRow)}
        if left := [choice for choice in wanted if choice not in found]:
            self.on_status(f"timing {len(left)} models beside the original", 0, 1)
            together = dict.fromkeys((self.uniform[0], *left))
            models = {str(choice): self.layers.variant(choice) for choice in together}
            fields = latency_fields(models, str(self.uniform[0]), self.layers.held_out.ids)
            new = [ConvertLatencyRow(ffn=choice, **fields[str(choice)]) for choice in left]
            self.layers.run.append(*new)
            found |= {row.ffn: row for row in new}
        return found


def _speedup(row: ConvertSweepRow) -> float:
    return row.speedup_text.median
