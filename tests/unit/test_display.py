import pytest

from headlines.display import neutralise, show_bytes


@pytest.mark.parametrize("cell", ["=1+1", "+55", "-1", "@now", "\t=1", "\r=1", '=HYPERLINK("x")', "  =1+1"])
def test_no_spreadsheet_takes_a_cell_for_a_formula(cell: str) -> None:
    assert neutralise(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "Chuva = caos", "2022-02-01", "é -1 °C"])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert neutralise(cell) == cell


def test_bytes_that_are_not_utf_8_are_shown_and_can_be_written() -> None:
    shown = show_bytes(b"Elei\xe7\xe3o \xc3\xa9".decode("utf-8", "surrogateescape"))
    assert shown == "Elei\\xe7\\xe3o é"
    assert shown.encode()
