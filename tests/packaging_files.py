"""What tests of the packages read: `pyproject.toml` of each."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENCODER = ROOT / "packages" / "ultrafastbert-minilm"
RUNTIME = ROOT / "packages" / "ultrafastbert-runtime"


def project(folder=ROOT):
    """The table `project` of a package."""
    # Python 3.10 has no library that reads TOML.
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    library = pytest.importorskip(name)
    return library.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements):
    """The distributions that requirements name, as pip compares them."""
    found = (re.match(r"[\w.-]+", requirement)[0] for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}
