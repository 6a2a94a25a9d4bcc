"""The table of models of random weights that were timed in other engines, too."""

from dataclasses import replace

from report_rows import model_rows

from ultrafastbert.report.engine_table import engine_table


def test_engines_stand_beside_pytorch():
    eager = [row for row in model_rows() if row.implementation == "eager"]
    onnx = [replace(row, implementation="ONNX Runtime", precision="int8") for row in eager]
    lines = [line.strip("| ").split(" | ") for line in engine_table([*eager, *onnx]).splitlines()]
    (line,) = (line for line in lines if line[:2] == ["ONNX Runtime", "int8"])
    (same,) = (line for line in lines if line[:2] == ["PyTorch, eager", "float32"])
    assert line[2:6] == same[2:6] == ["4.00", "20.0", "3.00", "2.00"]
    assert engine_table(eager) == engine_table([]) == ""
