from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from genomamba_data_prep.report.charts import Axis, Series, line_chart, linear_axis
from genomamba_data_prep.report.page import confusion_matrix, page, section, table


def test_linear_axis_has_round_ticks_inside() -> None:
    for low, high in ((0, 1), (0, 1.7), (0, 800), (0, 3e-3), (-2, 5)):
        axis = linear_axis("x", low, high)
        values = [value for value, _ in axis.ticks]
        assert 3 <= len(values) <= 7
        assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)
        assert np.diff(values) == pytest.approx(np.diff(values)[0])


def test_log_axis() -> None:
    axis = Axis("x", 1, 16, [], log2=True)
    assert [axis.fraction(x) for x in (1, 4, 16)] == pytest.approx([0, 0.5, 1])


def test_a_chart_is_well_formed_and_says_its_values() -> None:
    x = Axis("length", 1, 4, [(1, "1"), (4, "4")], log2=True)
    line = Series("ours & theirs", "model", [1, 4], [0.25, 0.5], [0.2, 0.4], [0.3, 0.6], True)
    chart = line_chart('accuracy "by" length', x, linear_axis("y", 0, 1), [line])
    root = ElementTree.fromstring(f"<div>{chart}</div>")
    text = "".join(root.itertext())
    assert "ours & theirs" in text
    assert "0.250" in text


def test_a_page_stands_alone_and_escapes() -> None:
    rows = table(("a", "b"), [("<script>", "1")])
    matrix = confusion_matrix(np.array([[3, 1], [0, 0]]), ["x", "y"])
    text = page("title", "lead", [section("heading", "words", rows, matrix)])
    assert "<script" not in text
    assert "http" not in text  # nothing is loaded from anywhere
    assert "--share:0.750" in text
