"""Result rows: typed, one class for each kind; the only source of tables and figures."""

from ultrafastbert.rows.environment import Environment, environment
from ultrafastbert.rows.files import append_row, append_rows, kinds_in, read_rows
from ultrafastbert.rows.kinds import KINDS, parse, to_plain
from ultrafastbert.rows.row import Row

__all__ = [
    "KINDS",
    "Environment",
    "Row",
    "append_row",
    "append_rows",
    "environment",
    "kinds_in",
    "parse",
    "read_rows",
    "to_plain",
]
