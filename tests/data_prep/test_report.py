from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from genomamba_data_prep.report.charts import (
    WIDTH,
    Axis,
    Band,
    Series,
    band_chart,
    line_chart,
    linear_axis,
)
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


def test_bands_stack_and_leave_gaps() -> None:
    spans = [(0.0, 1.0), (1.0, 2.0), (2.0, 4.0)]
    nan = float("nan")
    bands = [Band("a", "s1", [0.5, nan, 0.0]), Band("b", "s2", [0.5, nan, 1.0])]
    chart = band_chart("t", linear_axis("x", 0, 4), linear_axis("y", 0, 1), spans, bands)
    root = ElementTree.fromstring(f"<div>{chart}</div>")
    first, second = (path.attrib["d"] for path in root.iter("path"))
    assert first.count("M") == second.count("M") == 2
    top = re.match(r"M[\d.]+ ([\d.]+)", first)
    bottom = re.match(r"M[\d.]+ [\d.]+H[\d.]+V([\d.]+)", second)
    assert top is not None
    assert bottom is not None
    assert top[1] == bottom[1]  # the second begins where the first ends


def test_a_long_last_label_stays_inside() -> None:
    x = Axis("x", 0, 1, [(1, "1,000,000,000")])
    chart = line_chart("t", x, linear_axis("y", 0, 1), [])
    at = re.search(r'<text x="([\d.]+)"[^>]*>1,000,000,000', chart)
    assert at is not None
    assert float(at[1]) + 3.5 * len("1,000,000,000") < WIDTH


def test_columns_of_text_and_code() -> None:
    made = table(("a", "b", "c"), [("1", "2", "<3>")], text=["b"], code=["c"])
    assert '<td class="text">2</td><td><code>&lt;3&gt;</code></td>' in made


def test_a_page_stands_alone_and_escapes() -> None:
    rows = table(("a", "b"), [("<script>", "1")])
    matrix = confusion_matrix(np.array([[3, 1], [0, 0]]), ["x", "y"])
    text = page("title", "lead", [section("heading", "words", rows, matrix)])
    assert "<script" not in text
    assert "http" not in text  # nothing is loaded from anywhere
    assert "--share:0.750" in text
