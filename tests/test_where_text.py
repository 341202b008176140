"""The string form: the same rows as `DataFrame.query`, and errors that point at the place."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkvector.backends._arrow import mask
from dkvector.errors import FilterError
from dkvector.filters import And, Filter, Ids, Or, col, parse

FRAME = pd.DataFrame(
    {
        "n": [-2, 0, 1, 2, 3, 3],
        "my col": [0.5, -1.5, 2.0, 2.0, 0.0, 7.25],
        "s": ["a", "b", "ab", "O'x", 'q"', "a|b & c"],
        "flag": [True, False, True, True, False, False],
        "when": pd.to_datetime(
            ["2023-12-31", "2024-01-01", "2024-01-01 12:00", "2024-02-01", "2024-03-01", "2025-01-01"], format="ISO8601"
        ),
    }
)
NUMBERS = st.sampled_from(["-2", "0", "1", "2.0", "+3", "0.5"])
TEXTS = st.sampled_from(["'a'", '"b"', '"O\'x"', "'a|b & c'", "'`n`'"])
DATES = st.sampled_from(["'2024-01-01'", "'2024-01-01 12:00'", "'2023-12-31'"])
OPS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


@st.composite
def leaves(draw):
    name, values = draw(st.sampled_from([("n", NUMBERS), ("`my col`", NUMBERS), ("s", TEXTS), ("when", DATES)]))
    one, two = draw(values), draw(values)
    # pandas turns == with a text into isin, which finds no date: only the order of dates means the same there
    op = draw(OPS if name != "when" else st.sampled_from(["<", "<=", ">", ">="]))
    forms = [f"{name} {op} {one}", f"{one} {op} {name}", f"{name}.isna()", f"{name}.notnull()"]
    forms += [
        "flag",
        "not flag",
        "~flag",
        "flag == True",
        "True != flag",
        "n.between(0, 2)",
        "when.between('2024-01-01', '2024-02-01')",
    ]
    forms += ["s.str.contains('b')", "s.str.contains('|', regex=False)", "s.str.startswith('a')"]
    if name != "when":
        listed = f"[{one}, {two}]"
        forms += [f"{name} {word} {listed}" for word in ("in", "not in", "==", "!=")]
        forms += [f"{name} in ({one}, {two})", f"{name}.isin({listed})"]
    if values is NUMBERS:
        forms.append(f"{one} {draw(OPS)} {name} {draw(OPS)} {two}")
    return draw(st.sampled_from(forms))


TEXT = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or", "&", "|"]), inner),  # precedence decides
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["and", "or", "&", "|"]), inner),
        st.builds("not ({})".format, inner),
        st.builds("~({})".format, inner),
        st.builds("not {}".format, inner),
    ),
    max_leaves=5,
)


def rows(text: str) -> list[int]:
    table = pa.Table.from_pandas(FRAME)
    return [int(row) for row in mask(parse(text), table.column, len(FRAME)).nonzero()[0]]


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_the_same_rows_as_pandas(text):
    assert rows(text) == list(FRAME.query(text).index)


def test_ampersand_binds_like_and():
    assert parse("n > 1 & s == 'a' | flag") == ((col("n") > 1) & (col("s") == "a")) | (col("flag") == True)  # noqa: E712
    assert rows("n > 1 & s == 'ab' | flag") == list(FRAME.query("n > 1 & s == 'ab' | flag").index) == [0, 2, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 < a <= 3", (col("a") > 1) & (col("a") <= 3)),
        ("a == -1", col("a") == -1),
        ("a in []", col("a").isin([])),
        ("a != ['x']", ~col("a").isin(["x"])),
        ("`a``b` > 1", col("a`b") > 1),
        ("`class` == 'x' & `two  words`.isna()", (col("class") == "x") & col("two  words").is_null()),
        ("a == '& | ` @ # not'", col("a") == "& | ` @ # not"),
        ("a == 'it\\'s' 'one'", col("a") == "it'sone"),
        ("  a > 1\n  and b < 2 ", (col("a") > 1) & (col("b") < 2)),
        ("a.like('x%')", col("a").like("x%")),
        ("a == b'' 'x'", None),
        ("not ids(['x', 1])", ~Ids(("x", 1))),
        ("True", And(())),
        ("not True", Or(())),
        ("é == 1", col("é") == 1),
        ("_c0_ > 1 and `x y` > 1", (col("_c0_") > 1) & (col("x y") > 1)),
        ("(" * 90 + "a > 1" + ")" * 90, col("a") > 1),
        ("not " * 90 + "a > 1", col("a") > 1),
        (" and ".join(["a > 1"] * 2000), And((col("a") > 1,) * 2000)),
    ],
)
def test_reading(text, expected):
    if expected is None:
        with pytest.raises(FilterError):
            parse(text)
    else:
        assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a > @limit", "@", "dkv.col"),
        ("a > b", "b", "not with columns"),
        ("é == 'ü' and a > b", "b", "not with columns"),
        ("`my col` > 1 & `x y` > 1 & c > `other col`", "`other", "not with columns"),
        ("a + 1 > 2", "a", "arithmetic"),
        ("a > 2 ** 2", "2 **", "not read|arithmetic"),
        ("b == 1 and a.x > 3", "a.x", "backticks"),
        ("b == 1 and f(a)", "f(", "call is not read"),
        ("a > len('x')", "len", "call is not read"),
        ("a > date(2024, 1, 1)", "date", "call is not read"),
        ("a > date('soon')", "date", "date"),
        ("a == None", "None", "isna"),
        ("a in [1, None]", "None", "isna"),
        ("a in 'noun'", "'noun'", "list of values"),
        ("'x' in a", "'x'", "str.contains"),
        ("a is None", "None", "isna"),
        ("a = 1", "=", "=="),
        ("a.str.contains('x.y')", "'x.y'", "regex=False"),
        ("a.str.contains('x', regex=True)", "a", "no pattern"),
        ("a.str.lower() == 'x'", "a", "call is not read"),
        ("a.str.endswith('x')", "a", "no str.endswith"),
        ("a.isnull(1)", "a", "other arguments"),
        ("a.isnan()", "a", "did you mean 'isna'"),
        ("a.startswith('x')", "a", "no method"),
        ("a.like(3)", "3", "text is wanted"),
        ("a == f'{b}'", "f'", "f-string"),
        ("a == '''x'''", "'''", "triple"),
        ("a # rest", "#", "comments"),
        ("a > 1 and `b", "`b", "partner"),
        ("a[0] > 1", "a[", "index"),
        ("(lambda: 1)()", "(lambda", "call is not read"),
        ("1 == 1", "1", "must be a column"),
        ("1 and a", "1", "value alone"),
        ("~a > 1", "~", "parentheses"),
        ("a == 'x\\ud800'", "'x", "Unicode"),
        ("a == 0x" + "F" * 2000, "0x", "bits"),
        ("a == 1j", "1j", "complex"),
        ("(a > 1) == True", "a", "can't be compared"),
        ("a &", "", "something is missing at the end"),
        ("a > 1)", ")", "can't be read"),
        ("é > 1 and or", "or", "can't be read"),
    ],
)
def test_errors_point_at_the_place(text, place, message):
    with pytest.raises(FilterError, match=message) as caught:
        parse(text)
    shown, caret = str(caught.value).splitlines()[-2:]
    at = caret.index("^")
    assert shown[at : at + len(place)] == place
    assert place or at == len(shown)


def test_a_long_text_is_shown_around_the_place():
    text = "a == 'x' and " * 50 + "b > c" + " and a == 'x'" * 50
    with pytest.raises(FilterError) as caught:
        parse(text)
    shown, caret = str(caught.value).splitlines()[-2:]
    assert len(shown) < 130
    assert shown[caret.index("^") :].startswith("c and")


@pytest.mark.parametrize(
    "bomb",
    [
        "(" * 5000 + "a" + ")" * 5000,
        "not " * 5000 + "a",
        "not " * 500 + "a",
        "~" * 5000 + "a",
        "a == " + "-" * 5000 + "1",
        "a" + "+1" * 20_000 + " > 1",
        "a" + ".b" * 20_000,
        "a == " + "9" * 5000,
        "a in " + "[" * 5000,
        "x" * 2_000_001,
        "a == 1\0",
        "\ud800 == 1",
        "",
        " \n ",
    ],
    ids=lambda bomb: bomb[:8].encode("unicode_escape").decode(),
)
def test_bombs_are_refused(bomb):
    with pytest.raises(FilterError):
        parse(bomb)


PIECES = st.sampled_from(
    [
        *"ab1()[]{}.,:;=<>!&|~@#`'\"\\-+*% \n\r\t\0",
        "not ",
        " and ",
        " in ",
        ".str.contains(",
        ".isin(",
        "lambda ",
        "ids(",
        "'x'",
        "date(",
        "f'",
        "é",
        "None",
        "True",
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_any_text_is_a_filter_or_a_filter_error(text):
    try:
        found = parse(text)
    except FilterError:
        return
    assert isinstance(found, Filter)
    assert parse(str(found)) == found
