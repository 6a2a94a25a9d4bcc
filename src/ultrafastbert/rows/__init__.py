"""Result rows, the only source of tables and figures."""

from ultrafastbert.rows.files import Row, append_row, append_rows, environment, read_rows

__all__ = ["Row", "append_row", "append_rows", "environment", "read_rows"]
