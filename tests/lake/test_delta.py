import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

import lake
from lake import tables
from lake.contract import rules
from lake.contract.asking import ask
from lake.contract.spec import Column
from lake.errors import ContractError, LakeError, LostError, ParameterError, UnreachableError
from lake.root import DataRoot
from lake.store import cards, delta, writing
from lake.store.writing import Provenance, Target
from tests.lake import stores
from tests.lake.gates import SPEC, gate, rows, write


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot.of(tmp_path / "data")


def test_slices_that_several_write_at_once_are_all_kept(root: DataRoot) -> None:
    """The table is made meanwhile."""

    def rewrite(run: str) -> None:
        for number in range(5):
            write(root, run, gate(run, f"x{number}"))

    runs = [f"r{number}" for number in range(6)]
    with ThreadPoolExecutor(len(runs)) as threads:
        list(threads.map(rewrite, runs))
    found = delta.read(root, "gates", ["run_id", "name"]).to_pylist()
    assert sorted((row["run_id"], row["name"]) for row in found) == [(run, "x4") for run in runs]


@pytest.mark.parametrize("again", [True, False])
def test_a_write_begins_anew_where_another_changes_the_rules_meanwhile(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    write(root, "a", gate("a", "x"))
    table, commit = DeltaTable(root.table("gates")), writing.write_deltalake
    rule = next(iter(SPEC.constraints()))
    [dropped] = [name for name in writing._constraints(table) if name.startswith(rule)]
    tries: list[int] = []

    def late(*args: Any, **kwargs: Any) -> None:
        if not tries:
            table.alter.drop_constraint(dropped)
        tries.append(1)
        commit(*args, **kwargs)

    monkeypatch.setattr(writing, "write_deltalake", late)
    if not again:
        monkeypatch.setattr(writing, "_DISTURBANCES", 0)
        with pytest.raises(LakeError, match="was changed by another run that wrote at the same time; run it again"):
            write(root, "b", gate("b", "x"))
        return
    write(root, "b", gate("b", "x"))
    assert len(tries) == 2
    assert sorted(delta.read(root, "gates", ["run_id"])["run_id"].to_pylist()) == ["a", "b"]
    assert dropped in writing._constraints(DeltaTable(root.table("gates")))


@pytest.mark.parametrize(
    ("said", "tries"),
    [
        ("Failed to commit transaction: Metadata changed since last commit.", 2),
        ("Failed to commit transaction: Protocol changed since last commit", 2),
        ("[DELTA_METADATA_CHANGED] MetadataChangedException: The metadata of the Delta table has been changed", 2),
        ("[DELTA_PROTOCOL_CHANGED] ProtocolChangedException: The protocol version of the Delta table has", 2),
        ("a concurrent transaction deleted data this operation read", 1),
    ],
)
def test_only_a_changed_description_of_a_table_lets_a_write_begin_anew(said: str, tries: int) -> None:
    left = [ValueError(said)]
    met: list[int] = []

    def once_disturbed() -> str:
        met.append(1)
        if left:
            raise left.pop()
        return "written"

    if tries == 1:
        with pytest.raises(ValueError, match=said):
            writing.undisturbed(once_disturbed)
    else:
        assert writing.undisturbed(once_disturbed) == "written"
    assert len(met) == tries


def test_rows_elsewhere_that_break_a_new_rule_are_told_and_the_rest_is_written(root: DataRoot) -> None:
    for run in "ab":
        write(root, run, gate(run, "x", 5.0))
    low = replace(SPEC, columns=tuple(replace(c, high=4.0) if c.name == "value" else c for c in SPEC.columns))
    first, last = (
        Target(root, low, f"s-{run}", {"run_id": run}, Provenance("test", {"git_commit": "c"}, {})) for run in "ab"
    )
    told = r"other slices of 'gates' break its new rules .*: run the stages that make them first"
    with pytest.raises(LakeError, match=told):
        writing.write_slice(first, rows(gate("a", "x", 3.0)))
    writing.write_slice(last, rows(gate("b", "x", 3.0)))
    assert DeltaTable(root.table("gates")).to_pyarrow_table()["value"].to_pylist() == [3.0, 3.0]


def test_slices_that_are_made_again_at_once_after_a_change_of_the_rules_all_get_them(root: DataRoot) -> None:
    refused: list[str] = []
    runs = [f"r{number}" for number in range(4)]
    for run in runs:
        write(root, run, gate(run, "x", 5.0))
    low = replace(SPEC, columns=tuple(replace(c, high=4.0) if c.name == "value" else c for c in SPEC.columns))

    def rewrite(run: str) -> None:
        target = Target(root, low, f"s-{run}", {"run_id": run}, Provenance("test", {"git_commit": "c"}, {}))
        for _ in range(20):  # until none of the others breaks the rule
            try:
                writing.write_slice(target, rows(gate(run, "x", 3.0)))
                return
            except LakeError as error:
                refused.append(str(error))

    with ThreadPoolExecutor(len(runs)) as threads:
        list(threads.map(rewrite, runs))
    held = DeltaTable(root.table("gates"))
    assert held.to_pyarrow_table()["value"].to_pylist() == [3.0] * len(runs)
    assert set(writing._wanted(low)) == writing._constraints(held)
    told = "other slices of 'gates' break its new rules .*: run the stages that make them first"
    assert all(re.fullmatch(told, each) for each in refused)


def test_slices_are_replaced_alone_and_read_together(root: DataRoot) -> None:
    write(root, "a", gate("a", "x"), gate("a", "y"))
    write(root, "b", gate("b", "x"))
    write(root, "a", gate("a", "z"))
    found = delta.read(root, "gates", ["run_id", "name"]).sort_by([("run_id", "ascending")]).to_pylist()
    assert found == [{"run_id": "a", "name": "z"}, {"run_id": "b", "name": "x"}]
    assert delta.read(root, "gates", slices=["s-b"]).num_rows == 1


@pytest.mark.parametrize(
    ("table", "cure"),
    [("gates", "run `dvc repro`"), ("set_injections", "`dhs audit` of labelled"), ("imports", "`dhs import` makes it")],
)
def test_a_table_that_was_not_made_names_the_command_that_makes_it(root: DataRoot, table: str, cure: str) -> None:
    with pytest.raises(LakeError, match=f"table '{table}' has not been made yet; {cure}"):
        delta.read(root, table)


def test_the_same_rows_give_the_same_card(root: DataRoot) -> None:
    first = write(root, "a", gate("a", "x"), gate("a", "y", None))
    later = gate("a", "y", None) | {"git_commit": "other"}
    assert write(root, "a", later, gate("a", "x")) == first


def test_readers_see_pinned_versions_not_the_head(root: DataRoot) -> None:
    write(root, "a", gate("a", "x"))
    kept = {p.name: p.read_text() for p in root.cards.iterdir()}
    write(root, "a", gate("a", "x"), gate("a", "y"))
    for name, text in kept.items():
        (root.cards / name).write_text(text)
    assert delta.read(root, "gates").num_rows == 1


def test_a_table_is_opened_once_a_write(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "a", gate("a", "x"))
    opened, real = [], DeltaTable.__init__
    monkeypatch.setattr(DeltaTable, "__init__", lambda self, *a, **k: opened.append(a) or real(self, *a, **k))
    card = write(root, "a", gate("a", "z"))
    assert len(opened) == 1
    assert cards.read_slice(root, "gates", "s-a").pin.version == DeltaTable(root.table("gates")).version()
    assert delta.read(root, "gates", ["name"]).to_pylist() == [{"name": "z"}]
    assert card.rows == 1


def test_a_row_that_breaks_the_contract_is_refused(root: DataRoot) -> None:
    with pytest.raises(ContractError, match=r"1 of 2 rows break the contract.*'y'.*'value' must be a number"):
        write(root, "a", gate("a", "x"), gate("a", "y", float("nan")))
    assert not DeltaTable.is_deltatable(root.table("gates"))


def test_delta_enforces_the_contract_on_foreign_writers(root: DataRoot) -> None:
    from deltalake import write_deltalake

    write(root, "a", gate("a", "x"))
    with pytest.raises(DeltaError, match="status"):
        write_deltalake(root.table("gates"), rows(gate("c", "x") | {"status": "MAYBE"}), mode="append")


def test_files_are_read_as_by_arrows_datasets(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "a", gate("a", "x"), gate("a", "y", None))
    write(root, "b", gate("b", "x"))
    path = next((Path(root.table("gates")) / "run_id=a").glob("*.parquet"))
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns("low"), path)  # older than that column
    asked: list[dict[str, Any]] = [{}, {"columns": ["run_id"]}, {"slices": ["s-a"]}]
    found = [delta.read(root, "gates", **each) for each in asked]
    monkeypatch.setattr(delta, "_PLAIN_FILES", 0)  # as for tables whose log may mark rows as deleted
    monkeypatch.setattr(delta, "_rows_of_file", None)
    for each, rows_of_files in zip(asked, found, strict=True):
        assert delta.read(root, "gates", **each).equals(rows_of_files)
    assert found[1]["run_id"].to_pylist() == ["a", "a", "b"]
    assert found[2]["low"].null_count == 2


def test_a_lost_table_is_named(root: DataRoot) -> None:
    write(root, "a", gate("a", "x"))
    writing.made(root, tables.spec("diagnostics"))
    shutil.rmtree(root.table("gates"))
    with pytest.raises(LakeError, match=r"'gates.s-a' is pinned at version \d+, which .* does not hold"):
        delta.read(root, "gates")
    assert not root.witness("gates", "s-a").exists()


def test_a_recreated_table_is_not_mistaken_for_the_pinned_one(root: DataRoot) -> None:
    write(root, "a", gate("a", "x"))
    kept = {p.name: p.read_text() for p in root.cards.iterdir()}
    shutil.rmtree(root.table("gates"))
    write(root, "a", gate("a", "other"))
    for name, text in kept.items():
        (root.cards / name).write_text(text)
    with pytest.raises(LakeError, match="recreated since it was pinned"):
        delta.read(root, "gates")


def test_card_and_pin_of_different_runs_are_refused(root: DataRoot) -> None:
    write(root, "a", gate("a", "x"))
    card = (root.cards / "gates.s-a.json").read_text()
    write(root, "a", gate("a", "y"))
    (root.cards / "gates.s-a.json").write_text(card)
    with pytest.raises(LakeError, match="belong to different runs"):
        delta.read(root, "gates")


def test_slices_with_the_same_rows_must_agree(root: DataRoot) -> None:
    write(root, "a", gate("a", "x"))
    writing.write_slice(Target(root, SPEC, "twin", {"run_id": "a"}, Provenance("test")), rows(gate("a", "x")))
    assert delta.read(root, "gates").num_rows == 1
    writing.write_slice(Target(root, SPEC, "twin", {"run_id": "a"}, Provenance("test")), rows(gate("a", "y")))
    with pytest.raises(LakeError, match="claim the same rows but differ"):
        delta.read(root, "gates")


def test_the_package_reads_tables_by_name(root: DataRoot) -> None:
    write(root, "a", gate("a", "x"))
    assert lake.read("gates", ["name"], root=root.local).to_pylist() == [{"name": "x"}]
    assert lake.read("gates", slices=["s-a"], root=root).num_rows == 1


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with stores.bucket(monkeypatch) as uri:
        yield f"{uri}/tables"


def test_tables_in_an_object_store(object_store: str, tmp_path: Path) -> None:
    root = DataRoot.of(tmp_path / "data", object_store)
    write(root, "a", gate("a", "x"), gate("a", "y"))
    assert sorted(lake.read("gates", ["name"], root=root)["name"].to_pylist()) == ["x", "y"]
    entry = cards.read_slice(root, "gates", "s-a")
    with pytest.raises(UnreachableError, match="cannot be read in s3://lake-elsewhere"):
        delta.open_pinned(DataRoot.of(root.local, "s3://lake-elsewhere/tables"), entry)
    with pytest.raises(UnreachableError, match=r"holds no table, but .* pins 1"):
        delta.open_pinned(DataRoot.of(root.local, "s3://lake-of-tests/elsewhere"), entry)
    with pytest.raises(LostError, match="which s3://lake-of-tests/tables/gates does not hold"):
        delta.open_pinned(root, replace(entry, pin=replace(entry.pin, version=9)))


def test_a_missing_table_says_what_to_run(root: DataRoot) -> None:
    with pytest.raises(LakeError, match="'gates' has not been made yet; run `dvc repro`"):
        delta.read(root, "gates")


def test_a_wrong_slice_is_refused(root: DataRoot) -> None:
    with pytest.raises(LakeError, match=r"given by \['run_id'\], got \['name'\]"):
        writing.write_slice(Target(root, SPEC, "s", {"name": "x"}, Provenance("test")), rows(gate("a", "x")))


def test_audit_names_the_first_broken_rule_and_keeps_counts() -> None:
    given = rows(gate("a", "x"), gate("a", "x"), gate("a", "y", float("nan")), gate("a", "z") | {"status": "MAYBE"})
    kept, rejected = rules.audit(SPEC, given)
    assert kept.num_rows + rejected.num_rows == given.num_rows
    reasons = rejected.column("broken_rule").to_pylist()
    assert reasons[0] == "duplicate key (run_id, name)"
    assert reasons[1] == "'value' must be a number"
    assert reasons[2].startswith("'status' must be given, one of PASS")


@pytest.mark.parametrize("repeated", [False, True])
def test_rules_that_numbers_of_nulls_settle_are_not_asked_and_verdicts_are_the_same(
    monkeypatch: pytest.MonkeyPatch, repeated: bool
) -> None:
    """Columns without nulls, with some, and with nothing else, where they may be null and where they may not."""
    asked: list[str] = []
    monkeypatch.setattr(rules, "ask", lambda query, sources: asked.append(query) or ask(query, sources))
    values = [gate("a", name, value) | {"low": None} for name, value in (("x", 1.0), ("y", None), ("z", float("nan")))]
    values += [gate("a", "v") | {"rule": None}, gate("a", "w") | {"git_commit": None}, *values[: 2 * repeated]]
    quick = [rules.audit(SPEC, rows(*given)) for given in (values, values[:1], values[:0])]
    short = [query for query in asked if "low" not in query.partition("FROM rows")[0]]
    assert len(asked) == len(short) == 2, "no row, no query"
    assert "'rule'" in asked[0]
    assert "'rule'" not in asked[1]
    monkeypatch.setattr(Column, "met", lambda self, nulls, rows: False)
    for found, given in zip(quick, (values, values[:1], values[:0]), strict=True):
        for part, again in zip(found, rules.audit(SPEC, rows(*given)), strict=True):
            assert part.drop_columns("value") == again.drop_columns("value")  # which is NaN in a row
    assert [part.num_rows for part in quick[0]] == [2, 3 + 2 * repeated]


def test_unknown_columns_are_refused() -> None:
    with pytest.raises(ContractError, match=r"not in the contract \['extra'\]"):
        rules.audit(SPEC, rows(gate("a", "x")).append_column("extra", pa.array([1])))


_FULL = "Generic LocalFileSystem error\n  Unable to copy data to file\n   No space left on device (os error 28)"
_READ_ONLY = "Failed to parse parquet: External: Unable to open file /x: Read-only file system (os error 30)"


@pytest.mark.parametrize(("error", "number"), [(OSError(_FULL), 28), (DeltaError(_READ_ONLY), 30)])
def test_what_the_system_refuses_to_write_is_said_with_the_place(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch, error: Exception, number: int
) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(writing, "write_deltalake", refuse)
    with pytest.raises(OSError, match=re.escape(root.table("gates"))) as raised:
        write(root, "a", gate("a", "x"))
    assert raised.value.errno == number
    assert not list(root.cards.glob("*"))


@pytest.mark.parametrize(("name", "slices"), [("completeness_main", None), ("scores", None), ("scores", ["a"])])
def test_columns_are_checked_before_a_table_or_view_is_read(
    tmp_path: Path, name: str, slices: list[str] | None
) -> None:
    with pytest.raises(ParameterError, match=r"'columns' must be one of .*, got 'nope'"):
        lake.read(name, ["nope"], slices, root=tmp_path)
