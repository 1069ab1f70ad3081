"""Reading candidate lists: every position is kept, every other row has its reason, every file is read or refused."""

from __future__ import annotations

import gzip
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.files import angles
from etl.files.candidatelist import LENSCAT, CandidateList
from etl.files.candidatelist import read_list as read_as
from lake import tables
from lake.config import CandidateListParams
from lake.contract import rules
from lake.errors import DataError, ParameterError
from lake.tables.lens_candidates import NO_GRADE, NOT_TAKEN, RAGGED

GRADES = {"confident": "A", "confirmed": "A", "probable": "B"}
HEADING = "name,ra,dec,zlens,type,grading,ref\n"


def write(folder: Path, text: str | bytes) -> CandidateList:
    path = folder / "candidates.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_list(str(path), GRADES)


def read_list(path: str, grades: dict[str, str], **how: Any) -> CandidateList:
    """A list, in the usual format but for what is declared."""
    return read_as(path, grades, CandidateListParams.load({**LENSCAT.model_dump(), **how}, "survey.candidate_list"))


def positions(found: CandidateList) -> list[tuple[float, float, str | None]]:
    return [(row["ra"], row["dec"], row["tier"]) for row in found.rows.to_pylist()]


def test_every_row_with_coordinates_is_a_position_whatever_else_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = write(
            tmp_path,
            HEADING
            + "a,1.5,2.5,-,galaxy,confident,Ref 1\n,1,2,-,galaxy,Confirmed,R\nb,x,2,-,galaxy,confident,R\n"
            + "c,1,91,-,galaxy,confident,R\nd,1,3,-,galaxy,perhaps,R\na,1,4,0.5,galaxy,probable,R\n"
            + "e,nan,2,-,g,probable,R\nf,-0.1,-2,0.7,group,probable,\ng,5,6,-,galaxy,,R\nh,7,8\n"
            + "i, with a comma,9,10,-,galaxy,confident,R\n,,,,,,\n",
        )
    assert positions(found) == [
        (1.5, 2.5, "A"), (1, 2, "A"), (1, 3, None), (1, 4, "B"), (359.9, -2, "B"), (5, 6, None), (7, 8, None),
    ]  # fmt: skip
    assert found.rows["name"].to_pylist() == ["a", None, "d", "a", "f", "g", "h"]
    assert found.rows["fault"].to_pylist() == [None, None, NO_GRADE, None, None, NO_GRADE, NO_GRADE]
    assert found.rejected["row_index"].to_pylist() == [2, 3, 6, 10, 11]
    assert set(found.rejected["reason"].to_pylist()) == {
        "coordinates must be numbers in [0, 360] and [-90, 90] or sexagesimal"
    }
    assert (
        "3 of 7 positions are excluded from the negatives and are not lenses: no accepted grade: '' (2), 'perhaps' (1)"
        in caplog.text
    )
    assert "5 rows are quarantined: coordinates must be" in caplog.text
    quarantined = found.rejected.append_column("target_table", [["lens_candidates"] * 5])
    assert set(quarantined["source_file"].to_pylist()) == {"candidates.csv"}
    rules.require(tables.spec("quarantine"), quarantined, {"stage": "candidates"})


def test_a_row_longer_than_the_heading_is_a_lens_only_where_its_grade_is_in_place(tmp_path: Path) -> None:
    found = write(tmp_path, HEADING + "a,1,2,-,galaxy,confident,Huang, 2021\nJ1,2,3,4,-,galaxy,confident,R\n")
    assert positions(found) == [(1, 2, "A"), (2, 3, None)]
    assert found.rows["fault"].to_pylist() == [None, RAGGED]


def test_a_name_is_no_identifier_and_the_better_grade_of_a_repeated_row_wins(tmp_path: Path) -> None:
    found = write(
        tmp_path,
        HEADING + "-,1,2,-,g,probable,x\n-,50,20,-,g,confident,x\n-,1,2,0.3,g,confident,y\n-,1,2,-,g,odd,z\n",
    )
    assert positions(found) == [(50, 20, "A"), (1, 2, "A")]
    assert found.rows["candidate_id"].to_pylist() == ["-@50.00000+20.00000", "-@1.00000+2.00000"]
    assert found.rejected["row_index"].to_pylist() == [0, 3]
    assert set(found.rejected["reason"].to_pylist()) == {"the list repeats this name and position"}


@pytest.mark.parametrize("heading", ["theta_E", "theta_Ein", "Rein_arcsec", "theta_e_arcsec", "Einstein_radius"])
@pytest.mark.parametrize(
    ("text", "number"), [("1.43", 1.43), ("1.2 | 1.2", 1.2), ("", None), ("0", None), ("-1", None), ("9999", None)]
)
def test_a_list_may_give_einstein_radii(tmp_path: Path, heading: str, text: str, number: float | None) -> None:
    head = HEADING.replace("\n", f",{heading}\n")
    row = write(tmp_path, head + f"a,1,2,0.5,galaxy,confident,x,{text}\n").rows.to_pylist()[0]
    assert row["theta_e_arcsec"] == number


def test_a_list_without_einstein_radii_has_none(tmp_path: Path) -> None:
    found = write(tmp_path, HEADING + "a,1,2,0.5,galaxy,confident,x\n")
    assert found.rows["theta_e_arcsec"].to_pylist() == [None]


def test_radii_of_a_real_table_are_read(tmp_path: Path, real_data: Path) -> None:
    """SL2S with HSC: 18 or more lenses with `rein_arcsec`; positions as its names give them."""
    lines = (real_data / "catalogues" / "sl2s_sugohi" / "sugohi3_sl2s_hsc_summary_table.txt").read_text().splitlines()
    names = lines[0].lstrip("# ").split()
    rows = [dict(zip(names, line.split(), strict=True)) for line in lines[1:] if line.strip()]
    text = "name,ra,dec,grading,rein_arcsec\n" + "".join(
        f"{row['name']},{15 * i % 360}.5,{i % 60},confident,{row['rein_arcsec']}\n" for i, row in enumerate(rows)
    )
    found = write(tmp_path, text).rows["theta_e_arcsec"].to_pylist()
    assert found == [float(row["rein_arcsec"]) for row in rows]
    assert len(found) >= 18


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.49 | 0.49", 0.49), ("0.3?", None), ("0.3 | 0.5", None), ("-1", None), ("L", None), ("0.367 | nan", None),
     ("0.5", 0.5)],
)  # fmt: skip
def test_a_redshift_keeps_its_text(tmp_path: Path, text: str, number: float | None) -> None:
    row = write(tmp_path, HEADING + f"a,1,2,{text},g,confident,x\n").rows.to_pylist()[0]
    assert (row["z_lens"], row["z_lens_text"]) == (number, text)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + HEADING + "a,1,2,-,g,confident,Müller\n",
        (HEADING + "a,1,2,-,g,confident,Müller\n").encode("latin-1"),
        HEADING.replace(",", ";") + "a;1;2;-;g;confident;Müller\n",
        HEADING.replace(",", "\t") + "a\t1\t2\t-\tg\tconfident\tMüller\n",
        HEADING.replace(",", ", ").replace("\n", "\r\n") + ' a, 1, 2, -, g, confident, "Müller"\r\n\r\n',
        HEADING.upper().replace("GRADING", "Grade").replace("RA,", "RA [deg],") + "a,1,2,-,g,CONFIDENT,Müller\n",
        "ref,dec,ra,grading\nMüller,+02:00:00.0,00:04:00.00,confident\n",
        "ref,dec,ra,grading\nMüller,2d00m00s,0h04m00s,confident\n",
        "ref,dec,ra,grading\nMüller,2 00 00,1d00m00s,confident\n",
    ],
)
def test_one_list_in_many_forms(tmp_path: Path, content: str | bytes) -> None:
    row = write(tmp_path, content).rows.to_pylist()[0]
    assert (row["ra"], row["dec"], row["tier"], row["reference"]) == (pytest.approx(1, abs=1e-12), 2, "A", "Müller")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "lacks the columns ra, dec, grading"),
        ("name,ra,dec\na,1,2\n", "lacks the columns grading"),
        (HEADING, "has no rows"),
        ("ra,RA [deg],dec,grading\n1,1,2,confident\n", "more than one column for ra; keep one"),
        (gzip.compress(HEADING.encode(), mtime=0), "cannot be read: it is packed by gzip; unpack it"),
        (b"\xff\xfe\x00\x01", "cannot be read: it is not UTF-8 text; save it as CSV in UTF-8"),
        (HEADING + "a,x,2,-,g,confident,r\n", "none of its 1 rows has usable coordinates"),
        (
            HEADING + "a,1,2,-,g,A,r\nb,1,3,-,g,A,r\nc,1,3,-,g,,r\n",
            r"column 'grading' of .*candidates.csv must hold one of confident, confirmed, probable in at least one "
            r"row, but holds 'A' \(2\), '' \(1\); assign those words a tier, A or B, in survey.grades",
        ),
    ],
)
def test_a_file_that_is_no_list_is_refused_in_one_sentence(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path, content)


def test_a_pipe_or_a_folder_in_its_place_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", tmp_path, tmp_path / "absent.csv"):
        with pytest.raises(DataError, match="does not exist or is not a file"):
            read_list(str(path), GRADES)


def test_the_cases(cases: Path) -> None:
    """Letters are visual grades in some lists and our tiers in others: they need a declared meaning."""
    folder = cases / "candidates"
    with pytest.raises(DataError, match=r"but holds 'A' \(1\), 'B' \(1\), 'C' \(1\); assign those words a tier"):
        read_list(str(folder / "abc.csv"), GRADES)
    assert positions(read_list(str(folder / "abc.csv"), {"a": "B", "B": "B"})) == [
        (1, 2, "B"),
        (1, 3, "B"),
        (1, 4, None),
    ]
    for name in ("confirmed", "crlf", "spaces"):
        assert positions(read_list(str(folder / f"{name}.csv"), GRADES)) == [(1, 2, "A")], name
    assert positions(read_list(str(folder / "dupnames.csv"), GRADES)) == [(1, 2, "A"), (50, 20, "A")]
    assert positions(read_list(str(folder / "hms.csv"), GRADES)) == [(pytest.approx(150), 2, "A")]


@pytest.fixture(scope="module")
def lenscat(real_data: Path) -> Path:
    return real_data / "catalogues" / "lenscat_1.1.3" / "catalog.csv"


@pytest.fixture(scope="module")
def whole(lenscat: Path) -> CandidateList:
    """All of lenscat, which takes a second to read."""
    return read_list(str(lenscat), GRADES)


def test_real_lists(real_data: Path, whole: CandidateList) -> None:
    desi = read_list(str(real_data / "catalogues" / "desi_candidates.csv"), GRADES)
    tiers = desi.rows["tier"].to_pylist()
    assert (desi.rows.num_rows, tiers.count("A"), tiers.count(None), desi.rejected.num_rows) == (5104, 435, 0, 0)
    assert whole.rows.num_rows + whole.rejected.num_rows == 32_838
    assert set(whole.rejected["reason"].to_pylist()) == {"the list repeats this name and position"}
    assert whole.rejected.num_rows == 1, "names repeat 646 times, at other positions"
    rows = {row["z_lens_text"]: row["z_lens"] for row in whole.rows.to_pylist()}
    assert (rows["0.49 | 0.49"], rows["0.3?"], rows["0.367 | nan"]) == (0.49, None, None)


def test_a_stray_quote_takes_no_other_row(tmp_path: Path) -> None:
    rows = [
        '"a,1,2,-,g,confident,r',
        'b,3,4,-,g,probable,"r',
        'c,5,6,-,g,confident,r"',
        f'd,7,8,-,g,probable,"{"x" * 200_000}"',
    ]
    assert positions(write(tmp_path, HEADING + "\n".join(rows))) == [
        (1, 2, "A"), (3, 4, "B"), (5, 6, "A"), (7, 8, "B"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (HEADING + 'a,1,2,-,g,confident,r\n"b,\nof 2020",3,4,-,g,probable,r\nc,5,6,-,"g\n\nor g",confident,"r"\n', {}),
        ('a;1;2;confident\n"b,\nof 2020";3;4;probable\nc;5;6;"con\nfident"\n',
         {"columns": {"name": 1, "ra": 2, "dec": 3, "grading": 4}}),
    ],
)  # fmt: skip
def test_a_cell_in_quotes_may_go_over_several_lines(tmp_path: Path, text: str, how: dict[str, Any]) -> None:
    found = rows(tmp_path, text, **how)
    assert [(row["ra"], row["dec"]) for row in found] == [(1, 2), (3, 4), (5, 6)]
    assert (found[1]["name"], found[1]["tier"]) == ("b,\nof 2020", "B")


def test_a_damaged_list_is_refused_or_each_of_its_lines_is_accounted_for(tmp_path: Path) -> None:
    """Bytes changed, doubled or taken away at random: positions of untouched lines stay."""
    rng = np.random.default_rng(4)
    lines = [f"n{i},{i}.5,{i - 10},0.{i},galaxy,confident,ref {i}" for i in range(20)]
    content = (HEADING + "\n".join(lines)).encode()
    read = 0
    for _ in range(200):
        data = bytearray(content)
        for at in rng.integers(len(HEADING), len(data) - 3, 3).tolist():
            data[at : at + int(rng.integers(0, 3))] = bytes(
                rng.choice(list(b'",;\n\r0x-. \xff\x85'), int(rng.integers(0, 3))).tolist()
            )
        found = write(tmp_path, bytes(data))
        text = data.decode("latin-1").replace("\r", "\n")
        held = [line for line in text.split("\n")[1:] if line.strip()]
        assert found.rows.num_rows + found.rejected.num_rows == len(held)
        whole = {(i + 0.5, i - 10.0, "A") for i, line in enumerate(lines) if line in held}
        assert whole <= set(positions(found))
        read += len(whole)
    assert read > 2000


@settings(max_examples=50, deadline=None)
@given(
    ra=st.integers(0, 359_999_999),
    dec=st.integers(-89_999_999, 89_999_999),
    style=st.sampled_from([{"sep": ":"}, {"sep": " "}, {"sep": "hms"}]),
)
def test_sexagesimal_coordinates_equal_astropys(ra: int, dec: int, style: dict[str, str]) -> None:
    place = SkyCoord(ra / 1e6 * u.deg, dec / 1e6 * u.deg)
    text_ra = place.ra.to_string(unit=u.hourangle, precision=4, **style)
    text_dec = place.dec.to_string(
        unit=u.deg, precision=4, alwayssign=True, **{"sep": "dms"} if "hms" in style.values() else style
    )
    np.testing.assert_allclose(angles.right_ascension(text_ra), ra / 1e6, rtol=0, atol=2.2e-7)
    np.testing.assert_allclose(angles.declination(text_dec), dec / 1e6, rtol=0, atol=2e-8)


@pytest.mark.parametrize(
    "text", ["24:00:01", "10:60:00", "10:00:60", "10:00", "361", "1_0", "-200", "", None, "1,5", "ten"]
)
def test_what_is_no_right_ascension(text: str | None) -> None:
    assert angles.right_ascension(text) is None


@pytest.mark.parametrize("text", ["91", "-90:00:01", "10h00m00s", "inf", "", None, "10:00:60"])
def test_what_is_no_declination(text: str | None) -> None:
    assert angles.declination(text) is None


def rows(folder: Path, text: str, **how: Any) -> list[dict[str, Any]]:
    """Rows of a list that is written as declared."""
    (folder / "list.txt").write_text(text)
    return read_list(str(folder / "list.txt"), GRADES, **how).rows.to_pylist()


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("# name ra dec grade\n# made in 2020\nJ1 15.0 -2.5 confident\n# the end\n", {}),
        ("name  ra    dec   grade\nJ1    15.0  -2.5  confident\n", {}),
        ("name|RAJ2000|DEJ2000|grade\nJ1|01 00 00.0|−02 30 00|confident\n", {}),
        ("J1 15.0 -2.5\n", {"columns": {"name": 1, "ra": 2, "dec": 3}, "grading": "confident"}),
        ("J1,1.0,-2.5\n", {"columns": {"name": 1, "ra": 2, "dec": 3}, "grading": "confident", "ra_unit": "hours"}),
        ('Name,R.A. (hms),Decl. (dms)\nJ1,"1h00m00s","-2°30′00″"\n',
         {"columns": {"name": "Name", "ra": "R.A. (hms)", "dec": "Decl. (dms)"}, "grading": "confident"}),
        ("name RAh RAm RAs DE- DEd DEm DEs grade\nJ1 01 00 00 - 02 30 00 confident\n",
         {"columns": {"ra": ["RAh", "RAm", "RAs"], "dec": ["DE-", "DEd", "DEm", "DEs"]}}),
        ("J1 01 00 00 - 02 30 00\n", {"columns": {"name": 1, "ra": [2, 3, 4], "dec": [5, 6, 7, 8]},
          "grading": "confirmed"}),
        ("name;ra;dec;grade\nJ1;15;-2.5;confident\n", {"separator": "semicolon"}),
        ("name;ra;dec;grade\nJ1;15.0°;−2.5 deg;confident\n", {"ra_unit": "hours"}),
    ],
)  # fmt: skip
def test_lists_as_people_write_them(tmp_path: Path, text: str, how: dict[str, Any]) -> None:
    (row,) = rows(tmp_path, text, **how)
    assert (row["name"], row["ra"], row["dec"], row["tier"]) == ("J1", pytest.approx(15.0), -2.5, "A")


@pytest.mark.parametrize(
    ("ending", "kind"), [("fits", "fits"), ("vot", "votable"), ("ecsv", "ascii.ecsv"), ("mrt", "mrt")]
)
def test_lists_that_are_tables(tmp_path: Path, ending: str, kind: str) -> None:
    table = Table({"name": ["J1", "J2"], "ra": [15.0, 16.5], "dec": [-2.5, 2.5], "Class": ["sure", "maybe"]})
    path = tmp_path / f"list.{ending}"
    table.write(path, format="ascii.mrt" if kind == "mrt" else kind)
    found = read_list(str(path), {"sure": "A"}, columns={"grading": "Class"})
    assert positions(found) == [(15.0, -2.5, "A"), (16.5, 2.5, None)]
    assert found.rows["name"].to_pylist() == ["J1", "J2"]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(DataError, match=rf"list.{ending} (cannot be read as|lacks the columns|has no rows)"):
        read_list(str(path), {"sure": "A"}, columns={"grading": "Class"})


def test_lenses_of_some_types_and_references_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The others are positions near which no negative is taken."""
    text = (
        HEADING
        + "a,1,2,-,galaxy,confident,Huang 2021\nb,1,3,-,Cluster,confident,Huang 2021\nc,1,4,-,galaxy,confident,Lopes\n"
    )
    (tmp_path / "list.csv").write_text(text)
    found = read_list(str(tmp_path / "list.csv"), GRADES, types=["galaxy", "group"], references="Huang|Storfer")
    assert positions(found) == [(1, 2, "A"), (1, 3, None), (1, 4, None)]
    assert found.rows["fault"].to_pylist() == [None, NOT_TAKEN, NOT_TAKEN]
    assert f"2 of 3 positions are excluded from the negatives and are not lenses: {NOT_TAKEN}" in caplog.text
    with pytest.raises(ParameterError, match=r"'survey.candidate_list.references' must be a regular expression"):
        read_list(str(tmp_path / "list.csv"), GRADES, references="(")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"columns": {"ra": "RA_X"}}, "lacks the columns 'RA_X': it must have a header line"),
        ({"columns": {"colour": "x"}}, "'survey.candidate_list.columns.colour"),
        ({"columns": {"ra": 0}}, "'survey.candidate_list.columns.ra"),
        ({"columns": {"ra": 2, "dec": 9}}, "lacks the columns number 9: it must have"),
        ({"file": "../list.csv"}, "'survey.candidate_list.file' must"),
    ],
)
def test_a_declaration_that_does_not_fit(tmp_path: Path, how: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, ParameterError), match=message):
        rows(tmp_path, HEADING + "a,1,2,-,galaxy,confident,x\n", **how)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.31_{-0.04}^{+0.04}", 1.31),
        ("1.2 ± 0.1", 1.2),
        ("1.2+/-0.1", 1.2),
        ("0.9 (0.1)", 0.9),
        ("$1.5 \\pm 0.1$", None),
    ],
)
def test_an_uncertainty_is_left_out(tmp_path: Path, text: str, number: float | None) -> None:
    (row,) = rows(tmp_path, f"name;ra;dec;theta_E;grade\na;1;2;{text};confident\n")
    assert row["theta_e_arcsec"] == number


def test_published_tables(real_data: Path, lenscat: Path, whole: CandidateList) -> None:
    """SLACS in two forms gives the same places and Einstein radii; lenscat without the clusters of Lopes+04."""
    folder = real_data / "catalogues"
    plain = read_list(str(folder / "slacs/SLACS_table_selection.cat"), GRADES, grading="confirmed")
    assert plain.rows.num_rows == 59
    first = plain.rows.to_pylist()[0]
    assert (first["name"], first["ra"], first["theta_e_arcsec"]) == ("SDSSJ0029-0055", 7.282417, 0.96)
    known = {row["name"]: row for row in plain.rows.to_pylist()}
    columns = {"name": "Name", "ra": "R.A. (hms)", "dec": "Decl. (dms)", "theta_e": "/R_{Einstein} [arcsec]/"}
    sexagesimal = read_list(str(folder / "slacs/denzel_slacs_params.csv"), GRADES, grading="confirmed", columns=columns)
    same = [row for row in sexagesimal.rows.to_pylist() if row["name"] in known]
    assert len(same) == 4
    for row in same:
        assert row["ra"] == pytest.approx(known[row["name"]]["ra"], abs=5e-4)
        assert row["dec"] == pytest.approx(known[row["name"]]["dec"], abs=5e-4)
        assert row["theta_e_arcsec"] == pytest.approx(known[row["name"]]["theta_e_arcsec"], rel=0.3)
    every = whole.rows
    some = read_list(str(lenscat), GRADES, types=["galaxy"], references="2005.04730|2206.02764").rows
    assert every.num_rows == some.num_rows
    count = [sum(tier is not None for tier in each["tier"].to_pylist()) for each in (every, some)]
    assert 4000 < count[1] < 5200 < count[0]
