"""The models of a sweep: which choices of members are best, how good and fast they are."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property

from datasets import Dataset
from transformers import PreTrainedModel

from ultrafastbert import rows
from ultrafastbert.bench.encoder_latency import SHAPES, latency_fields, time_models
from ultrafastbert.distill.sweep.allocation import Allocation, Members, pareto_front, within
from ultrafastbert.distill.sweep.blocks import SweepBlocks
from ultrafastbert.distill.sweep.target import Target
from ultrafastbert.evaluate.similarity import sts_spearman

# So many evenly spaced models of the front are made, beside those at the times of uniform ones.
N_POINTS = 5
NS_PER_MS = 1e6
# For each member: all choices follow from these times, which may differ by a few percent.
MEMBER_SECONDS = 4.0


class SweepModels:
    """Whole models out of a sweep's blocks.

    Args:
        blocks: all trained.
        pairs: rows of STS-B to score models on, or None.
    """

    def __init__(self, blocks: SweepBlocks, pairs: Dataset | None):
        self.blocks, self.pairs, self.on_status = blocks, pairs, blocks.on_status
        members = (None, *blocks.config.trained)
        self.uniform: list[Members] = [(member,) * blocks.n_layers for member in members]

    def time_uniform(self) -> None:
        """Time models with one member in every layer, with a row of kind `convert_member` each.

        So a member's time is what it takes within the model.
        """
        if self.blocks.rows("convert_member"):
            return
        self.on_status("timing each member in every layer", 0, 1)
        models = {str(members): self.blocks.variant(members) for members in self.uniform}
        ids = self.blocks.held_out.ids
        timings = time_models(models, SHAPES["text"], ids, MEMBER_SECONDS)
        original = timings[str(self.uniform[0])]
        # By ratios, round by round: what slows the whole machine cancels out.
        ratios = [timings[str(members)].speedup_over(original)[1] for members in self.uniform]
        new = [
            {
                "kind": "convert_member",
                "ffn": members[0],
                "latency_text_ms": 1e3 * original.median / ratio,
            }
            for members, ratio in zip(self.uniform, ratios, strict=True)
        ]
        rows.append_rows(self.blocks.rows_path, new)

    @cached_property
    def _times_ns(self) -> dict[str | None, int]:
        """Time of the model with a member in every layer, over its layers."""
        n_layers = self.blocks.n_layers
        return {
            row["ffn"]: round(NS_PER_MS * row["latency_text_ms"] / n_layers)
            for row in self.blocks.rows("convert_member")
        }

    @cached_property
    def _errors(self) -> list[dict[str | None, float]]:
        """What each member alone does to the last hidden states, by layer."""
        errors: list[dict[str | None, float]] = [{None: 0.0} for _ in range(self.blocks.n_layers)]
        for row in self.blocks.rows("convert_layer"):
            errors[row["layer"]][row["ffn"]] = row["unexplained_states"]
        return errors

    @cached_property
    def front(self) -> list[Allocation]:
        """The best choices, from the fastest on."""
        members = (None, *self.blocks.config.members)
        errors = [{member: layer[member] for member in members} for layer in self._errors]
        return pareto_front(errors, self._times_ns)

    def _allocation(self, members: Members) -> Allocation:
        error = sum(self._errors[layer][member] for layer, member in enumerate(members))
        return Allocation(sum(self._times_ns[member] for member in members), error, members)

    def points(self) -> list[Allocation]:
        """Return what to make: one member everywhere, the best at those times, and others."""
        uniform = [self._allocation(members) for members in self.uniform]
        fastest, slowest = self.front[0].time_ns, self.front[-1].time_ns
        times = [allocation.time_ns for allocation in uniform]
        times += [fastest + (slowest - fastest) * i // N_POINTS for i in range(N_POINTS)]
        best = [within(self.front, time) for time in sorted(times)]
        return _distinct([*uniform, *filter(None, best)])

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
            f"{reached:.2f} times faster; resume with a lower target, or sweep faster members"
        )

    def _fastest_that_explains(self, share: float) -> Allocation:
        """Return the first of the front that does, by bisection.

        Summed errors say which choices are best, but not how good a whole model is.
        """

        def explains(allocation: Allocation) -> bool:
            self.on_status("looking for the fastest model that explains enough", 0, 1)
            model = self.blocks.variant(allocation.members)
            return 1 - self.blocks.held_out.unexplained_states(model) >= share

        return self.front[bisect_left(self.front, True, key=explains)]

    def choose(self, target: Target) -> Members:
        """Return the best model that was measured, by what was measured.

        The fastest one where none is as fast as was planned.
        """
        choice = {None, *self.blocks.config.members}
        models = [r for r in self.blocks.rows("convert_sweep") if choice.issuperset(r["ffn"])]
        fastest = max(models, key=_speedup)
        if target.explained is not None:
            good = [row for row in models if 1 - row["unexplained_states"] >= target.explained]
            best = max(good, key=_speedup)
        else:
            good = [r for r in models if _speedup(r) >= target.speedup_among(_speedup(fastest))]
            best = min(good, key=lambda row: row["unexplained_states"], default=fastest)
        return tuple(best["ffn"])

    def measure(self, allocations: Sequence[Allocation]) -> None:
        """Measure models, each with a row of kind `convert_sweep`, beside the original."""
        done = {tuple(row["ffn"]) for row in self.blocks.rows("convert_sweep")}
        left = [a for a in _distinct(allocations) if a.members not in done]
        latencies = self._latencies([allocation.members for allocation in left])
        for number, allocation in enumerate(left):
            self.on_status("measuring models", number, len(left))
            model = self.blocks.variant(allocation.members)
            row = {
                "kind": "convert_sweep",
                **asdict(self.blocks.config),
                "ffn": allocation.members,
                "predicted_ms": allocation.time_ns / NS_PER_MS,
                "summed_error": allocation.error,
                **self.scores(model),
                **latencies[allocation.members],
            }
            rows.append_row(self.blocks.rows_path, row)

    def scores(self, model: PreTrainedModel) -> rows.Row:
        """Return how good a model is: what it leaves of the last hidden states, and on STS-B."""
        found = {"unexplained_states": self.blocks.held_out.unexplained_states(model)}
        if self.pairs is not None:
            score = sts_spearman(model, self.blocks.tokenizer, self.pairs)
            found["stsb_validation_spearman"] = score
        return found

    def _latencies(self, wanted: Sequence[Members]) -> dict[Members, rows.Row]:
        """Return the times of models, measured together with the original or read."""
        found = {tuple(row["ffn"]): row for row in self.blocks.rows("convert_latency")}
        if left := [members for members in wanted if members not in found]:
            self.on_status(f"timing {len(left)} models beside the original", 0, 1)
            together = dict.fromkeys((self.uniform[0], *left))
            models = {str(members): self.blocks.variant(members) for members in together}
            fields = latency_fields(models, str(self.uniform[0]), self.blocks.held_out.ids)
            new = [
                {"kind": "convert_latency", "ffn": members, **fields[str(members)]}
                for members in left
            ]
            rows.append_rows(self.blocks.rows_path, new)
            found |= {row["ffn"]: row for row in new}
        unwanted = ("kind", "ffn", "environment")
        return {
            members: {name: value for name, value in row.items() if name not in unwanted}
            for members, row in found.items()
        }


def _distinct(allocations: Sequence[Allocation]) -> list[Allocation]:
    """Return the first allocation of each choice of members.

    Their errors are no guide: sums of the same numbers differ in the last digits by the way they
    are summed.
    """
    found: dict[Members, Allocation] = {}
    for allocation in allocations:
        found.setdefault(allocation.members, allocation)
    return list(found.values())


def _speedup(row: rows.Row) -> float:
    return row["speedup_text"][1]
