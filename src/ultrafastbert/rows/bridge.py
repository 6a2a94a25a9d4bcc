"""For rooms that still write rows as dicts and read them by key; removed when none does."""

from collections.abc import Iterable, Mapping
from typing import Any

from ultrafastbert.rows import upgrades

# What such rooms annotate their dicts with; then `rows.row.Row`.
Row = Any


class ByKey:
    """Lets a row be read as the dict that it was, by the names of version 1 or of today."""

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
    """Return a row as a dict, with the names of version 1 beside those of today."""
    from ultrafastbert.rows.kinds import to_plain

    missing = {name: None for name in row.__dataclass_fields__ if name != "environment"}
    plain = missing | to_plain(row)
    for score in plain.get("scores", []):
        plain["_".join((score["task"], score["split"], score["metric"]))] = score["value"]
    old = {new: name for name, new in upgrades.FIELDS_1.items()}
    return {old[name]: value for name, value in plain.items() if name in old} | plain


def from_dict(plain: Mapping[str, Any]) -> Any:
    """Return a row from a dict that a room made, of names of any version."""
    from ultrafastbert.rows.kinds import KINDS, parse

    kind = upgrades.KINDS_1.get(plain["kind"], plain["kind"])
    fields = upgrades.from_version_1(dict(plain)) | {"kind": kind, "version": 2}
    known = KINDS[kind].__dataclass_fields__.keys() | {"kind", "version"}
    kept = {name: each for name, each in fields.items() if each is not None or name in known}
    return parse({name: _listed(value) for name, value in kept.items()})


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _listed(each) for key, each in value.items()}
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value
