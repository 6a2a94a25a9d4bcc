"""Digests of content: what a file holds decides whether it is the same, not its name or age."""

from pathlib import Path
from typing import Any

_BLOCK_BYTES = 1 << 20


def add_file(digest: Any, path: Path) -> None:
    """Update a digest of `hashlib` with the bytes of a file, in bounded memory."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
