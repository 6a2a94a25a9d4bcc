"""A folder that holds one run: never overwritten, continued only with the same settings."""

import json
import os
from pathlib import Path
from typing import Any


def is_main_process() -> bool:
    """Return whether this process writes results: the first of those that torchrun starts."""
    return os.environ.get("RANK", "0") == "0"


def claim(folder: Path, file_name: str, settings: dict[str, Any], resume: bool) -> bool:
    """Take a folder for a run with these settings; return whether the run was begun before.

    The settings are kept in the folder's file `file_name`, which the main process writes.
    Raises FileExistsError if the folder holds a run and `resume` is not set, and ValueError,
    naming what differs, if it holds a run with other settings.
    """
    if not is_main_process():
        return resume
    settings = json.loads(json.dumps(settings))
    path = folder / file_name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return False
    if not resume:
        raise FileExistsError(
            f"{folder} holds a run already; continue it with --resume or choose another folder"
        )
    before = json.loads(path.read_text(encoding="utf-8"))
    if changed := sorted(key for key in settings if settings[key] != before.get(key)):
        raise ValueError(
            f"{folder} holds a run that differs in {', '.join(changed)}; choose another folder"
        )
    return True
