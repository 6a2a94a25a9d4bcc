"""What all result rows share, and how a field says that tables show it."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, NamedTuple, get_args, get_origin, get_type_hints

from ultrafastbert.rows.environment import Environment


@dataclass(frozen=True, kw_only=True)
class Row:
    """One result: what was measured, of what, in which environment.

    Units are in the names of the fields: `latency_us`, `tokens_per_s`. Fields of None were not
    measured, or do not apply, and are left out of the file.

    Attributes:
        kind: of the row, the same for all rows of a class.
        version: of the kind's fields; `upgrades` knows those of earlier versions.
        environment: filled in when the row is written.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 2

    environment: Environment | None = None


class Spread(NamedTuple):
    """A ratio or time over the rounds of a measurement."""

    low: float  # 10th percentile
    median: float
    high: float  # 90th percentile


@dataclass(frozen=True)
class Column:
    """Marks a field that tables show as a column of its own: `Annotated[float, Column(...)]`.

    Attributes:
        title: of the column, with the unit.
        factor: from the field's value to the unit of the title, such as 100 for per cent.
        decimals: that are shown, where a table has no rule of its own.
    """

    title: str
    factor: float = 1.0
    decimals: int = 1


def columns_of(row: type[Row]) -> dict[str, Column]:
    """Return the columns of a class of rows, by field, in the order of its fields."""
    hints = get_type_hints(row, include_extras=True)
    marks = {
        name: get_args(hint)[1] for name, hint in hints.items() if get_origin(hint) is Annotated
    }
    return {field.name: marks[field.name] for field in fields(row) if field.name in marks}


def shared_fields(row: Row, base: type[Row]) -> dict[str, Any]:
    """Return the fields that a row has of a base class, for a row of another class of that base.

    Its environment is left out: the other row gets one of its own.
    """
    names = (field.name for field in fields(base) if field.name != "environment")
    return {name: getattr(row, name) for name in names}


@dataclass(frozen=True)
class Score:
    """A model's score on a split of a task, in per cent.

    Attributes:
        task: as `evaluate.tasks.TASKS` names it.
        split: of its data, such as validation.
        metric: such as spearman.
        value: per cent.
    """

    task: str
    split: str
    metric: str
    value: float

    @property
    def of(self) -> tuple[str, str, str]:
        """What was scored: task, split, metric."""
        return self.task, self.split, self.metric
