"""For rooms that still write rows as dicts and read them by key; removed when none does.

They see the names of version 1: of kinds, fields and controls.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ultrafastbert.rows import upgrades

# What such rooms annotate their dicts with; then `rows.row.Row`.
Row = Any


class ByKey:
    """Lets a row be read as the dict that it was."""

    def __getitem__(self, name: str) -> Any:
        return as_dict(self)[name]

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return as_dict(self) | dict(other)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or the default where there is none."""
        return as_dict(self).get(name, default)

    def keys(self) -> Iterable[str]:
        """Return the names of the fields."""
        return as_dict(self).keys()


def as_dict(row: Any) -> dict[str, Any]:
    """Return a row as a dict of version 1."""
    from ultrafastbert.rows.kinds import to_plain

    plain: dict[str, Any] = dict.fromkeys(row.__dataclass_fields__)
    del plain["environment"]
    plain |= to_plain(row)
    if hasattr(row, "fvu_states") and "metrics" in plain:
        plain |= plain.pop("metrics")
    for score in plain.pop("scores", None) or []:
        plain["_".join((score["task"], score["split"], score["metric"]))] = score["value"]
    del plain["version"]
    old = {new: name for name, new in upgrades.FIELDS_1.items()}
    plain = {old.get(name, name): value for name, value in plain.items()}
    for field, names in (("kind", upgrades.KINDS_1), ("model", upgrades.MODELS_1)):
        if field in plain:
            before = {new: name for name, new in names.items()}
            plain[field] = before.get(plain[field], plain[field])
    return plain


def from_dict(plain: Mapping[str, Any]) -> Any:
    """Return a row from a dict that a room made, of names of version 1 or of today."""
    from ultrafastbert.rows.kinds import KINDS, parse

    kind = upgrades.KINDS_1.get(plain["kind"], plain["kind"])
    known = KINDS[kind].__dataclass_fields__
    fields = upgrades.from_version_1({name: _listed(each) for name, each in plain.items()})
    kept = {name: each for name, each in fields.items() if each is not None or name in known}
    if hasattr(KINDS[kind], "fvu_states") and "metrics" in known:  # new ones are dicts' fields, too
        others = kept.keys() - known - {"kind", "version"}
        kept["metrics"] |= {name: kept.pop(name) for name in sorted(others)}
    return parse(kept | {"version": 2})


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _listed(each) for key, each in value.items()}
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value
