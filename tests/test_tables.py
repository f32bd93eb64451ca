import xml.etree.ElementTree as ET

from featlab.tables import Table

ROWS = [{"name": "a", "count": 3}, {"name": "<b>", "count": 12}]


def test_text_face_aligns_words_left_and_numbers_right():
    assert repr(Table(ROWS)) == "name  count\n----  -----\na         3\n<b>      12"


def test_html_face_shows_the_same_cells_and_escapes_them():
    tree = ET.fromstring(Table(ROWS, caption="two & two")._repr_html_())
    assert [cell.text for cell in tree.iter("td")] == ["a", "3", "<b>", "12"]
    assert [cell.text for cell in tree.iter("th")] == ["name", "count"]
    assert tree.find("caption").text == "two & two"


def test_caption_stands_above_the_text():
    assert repr(Table(ROWS, caption="Two rows.")).splitlines()[0] == "Two rows."


def test_columns_choose_and_order_what_is_shown_and_rows_keep_everything():
    table = Table(ROWS, columns=["count"])
    assert repr(table).splitlines()[0] == "count"
    assert table.rows == ROWS


def test_missing_values_show_as_a_dash():
    assert "-" in repr(Table([{"a": None, "b": 1}])).splitlines()[-1]


def test_an_empty_table_is_false_and_says_so():
    assert not Table([])
    assert repr(Table([])) == "(no rows)"


def test_changing_the_given_rows_later_does_not_change_the_table():
    rows = [{"a": 1}]
    table = Table(rows)
    rows[0]["a"] = 2
    assert table[0]["a"] == 1
