"""The tables of the records on real data follow from their raw rows."""

import pytest

from experiments.record_tables import HERE, TABLES


@pytest.mark.parametrize("record", TABLES)
def test_the_tables_of_a_record_follow_from_its_raw_rows(record):
    readme = (HERE / record / "README.md").read_text()
    for lines in TABLES[record]():
        assert "\n".join(lines) in readme
