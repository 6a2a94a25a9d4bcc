"""Settings of runs that take seconds, and ways to interrupt them."""

from ultrafastbert.bench import timing
from ultrafastbert.distill import ConvertConfig, SweepConfig

SMALL = ["--recipe", "tiny", "--tokens", "20000", "--vocab-size", "200", "--seq-length", "32"]

CONVERT = ConvertConfig(
    "1x2x3",
    tokens=1000,
    steps=5,
    batch_tokens=64,
    sequential_steps=0,
    end_to_end_steps=0,
    end_to_end_tokens=1000,
    controls=False,
)


# All stages, with controls.
ALL_STAGES = ConvertConfig(
    "1x2x3",
    tokens=2000,
    steps=20,
    batch_tokens=64,
    sequential_steps=4,
    end_to_end_steps=3,
    end_to_end_tokens=2000,
)


def cut_off(*args, **options):
    raise KeyboardInterrupt


def interrupt_at(beginning):
    """Return a status that ends the run where something begins."""

    def on_status(what, *count):
        if what.startswith(beginning):
            raise KeyboardInterrupt

    return on_status


CANDIDATES = ("1x2x3", "ff:4")

SWEEP = SweepConfig(CANDIDATES, tokens=2000, steps=20, batch_tokens=64)


def time_by_name(models, shape, ids, seconds):
    """Models take longer the more original blocks they have."""
    return {name: timing.Timing((1e-3 * (1 + name.count("None")),) * 3, 1) for name in models}
