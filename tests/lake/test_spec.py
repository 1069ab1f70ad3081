import pytest

from lake import tables
from lake.contract.spec import Column, TableSpec
from lake.errors import ParameterError


@pytest.mark.parametrize("name", tables.names())
def test_every_contract_is_complete(name: str) -> None:
    spec = tables.spec(name)
    assert spec.name == name
    assert spec.key
    assert all(column.meaning for column in spec.columns)
    assert len(set(spec.names)) == len(spec.names)
    assert set(spec.slice_by) <= set(spec.names)
    assert all(not column.nullable for column in spec.columns if column.role == "key")


def test_unknown_table_names_the_known_ones() -> None:
    with pytest.raises(ParameterError, match=r"'table' must be one of .*manifest.*, got 'nope'"):
        tables.spec("nope")


def test_rules_are_null_safe() -> None:
    rule = Column("x", "double", "a number", nullable=True, low=0).rule()
    assert rule is not None
    assert rule.sql == "x IS NULL OR (NOT isnan(x) AND x >= 0.0)"


def test_schema_hash_sees_rules_but_not_prose() -> None:
    def spec(meaning: str, high: float) -> TableSpec:
        return TableSpec("t", "m", (Column("k", "bigint", meaning, role="key", high=high),), engine="spark")

    assert spec("one", 1).schema_hash() == spec("another", 1).schema_hash()
    assert spec("one", 1).schema_hash() != spec("one", 2).schema_hash()
