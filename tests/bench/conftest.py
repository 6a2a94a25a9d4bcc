"""A machine that is measured in no time."""

import pytest

from ultrafastbert.bench import machine


@pytest.fixture(scope="module")
def quick_machine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "SECONDS", 1e-3)
        patch.setattr(machine, "ATTEMPTS", 1)
        patch.setattr(machine, "cache_bytes", lambda: (2**16, 2**18))
        yield
