from __future__ import annotations

from benchmarks.features import FROM_FILES, PACKED, USUAL, run


def test_both_ways_to_extract_give_equal_features_and_are_reported():
    report = run(quick=True)  # raises where features are not equal
    assert [row[1] for row in report.rows] == [USUAL, PACKED, FROM_FILES]
    one_by_one, packed, _ = (row[3] for row in report.rows)
    images = 17 * (2 + 1)
    assert (one_by_one, packed) == (3 * 2 * images, 3 * 2)
    assert "int8" in report.markdown()
