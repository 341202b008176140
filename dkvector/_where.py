"""The string form of filters: the subset of `DataFrame.query` that means the same, read with `ast`, never evaluated."""

from __future__ import annotations

import ast
import re
import unicodedata
from bisect import bisect_right

from dkvector import _scalars
from dkvector._scalars import Scalar, scalar
from dkvector._tree import METACHARACTERS, And, Compare, Filter, Ids, IsIn, IsNull, Op, Or, TextMatch
from dkvector.errors import FilterError, hint

MAX_LENGTH = 2_000_000  # characters: room for a list of 100,000 ids, none for a bomb
MAX_DEPTH = 100  # nested conditions, well inside Python's own recursion limit
_WINDOW = 60  # characters shown on each side of an error

_OPS: dict[type[ast.cmpop], Op] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_FLIPPED: dict[Op, Op] = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_METHODS = ("isna", "isnull", "notna", "notnull", "isin", "between", "like")
_TEXT_METHODS = ("contains", "startswith")

_TOKEN = re.compile(
    # quoted texts come before words and spaces, so that nothing inside them is replaced
    r"""(?P<triple>'''|\"\"\")
    | (?P<string> '(?:\\[^\n]|[^'\\\n])*' | "(?:\\[^\n]|[^"\\\n])*" )
    | `(?P<name>(?:[^`]|``)*)`
    | (?P<word>[&|])
    | (?P<space>\s)
    | (?P<refused>[@\#`])""",
    re.VERBOSE,
)
_REFUSED = {
    "triple": "triple quotes are not read",
    "@": "a variable is not read from a text: write dkv.col('name') > variable",
    "#": "comments are not read",
    "`": "this backtick has no partner",
}
_NODES: dict[type[ast.expr], str] = {
    ast.BinOp: "arithmetic is not read: compute the column first",
    ast.Lambda: "a lambda is not read",
    ast.JoinedStr: "an f-string is not read inside the text: write dkv.col('name') == value",
    ast.Subscript: "an index is not read",
    ast.IfExp: "a choice is not read",
    ast.Compare: "a condition can't be compared: combine conditions with and, or, not",
    ast.BoolOp: "a condition can't be compared: combine conditions with and, or, not",
    ast.Attribute: "attributes are not read; a column with a dot in its name stands in backticks: `a.b`",
    ast.Constant: "a value alone is no condition: compare a column with it",
    ast.Call: "this call is not read",
    ast.UnaryOp: "a sign stands before a number only, ~ before a condition in parentheses: ~(a > 1)",
}


def parse(text: str) -> Filter:
    """Read a filter from its string form.

    Args:
        text: comparisons of columns with values, as `DataFrame.query` has them: ``== != < <= > >= in``, chained
            comparisons, ``and or not & | ~``, ``isna notna isin between str.contains str.startswith``, a boolean
            column by itself, names with spaces in backticks; and ``name.like("a%")``. Dates are written as text.

    Returns:
        The filter.

    Raises:
        FilterError: anything else; a caret points at the place.

    Example:
        >>> parse("1 < depth <= 4 & pos in ['noun', 'verb']")
        <Filter: depth > 1 and depth <= 4 and pos in ['noun', 'verb']>
        >>> parse("depth > @limit")
        Traceback (most recent call last):
        dkvector.errors.FilterError: a variable is not read from a text: write dkv.col('name') > variable
            depth > @limit
                    ^
    """
    source = _Source(_scalars.text(text))
    return _Reader(source).predicate(_syntax(source))


def _syntax(source: _Source) -> ast.expr:
    try:
        return ast.parse(source.code, mode="eval").body
    except SyntaxError as error:
        if error.offset == 0:
            raise source.error("this can't be read: something is missing at the end", len(source.text)) from error
        at = (error.offset or 1) - 1
        way_out = "; two values are compared with ==" if source.code[at : at + 1] == "=" else ""
        raise source.error(f"this can't be read: {error.msg}{way_out}", source.origin(at)) from error
    # what CPython's parser raises where conditions are nested deeper than its stack
    except (MemoryError, RecursionError) as error:
        raise source.error("this can't be read: nested too deeply", 0) from error
    except ValueError as error:  # null bytes
        raise source.error(f"this can't be read: {error}", 0) from error


class _Source:
    """The text of a filter as Python code, and the way back from a place in the code to the place in the text.

    pandas gives ``&`` and ``|`` the precedence of ``and`` and ``or`` by putting those words in their place, and so do
    we; a name in backticks becomes an identifier that the text has not.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.names: dict[str, str] = {}
        self._starts = [0]  # where each piece of the code starts,
        self._origins = [0]  # and where in the text it comes from
        if not self.text:
            raise FilterError("an empty text is no filter: for every row leave where out")
        if len(text) > MAX_LENGTH:
            raise FilterError(f"a filter of {len(text):,} characters is past the limit of {MAX_LENGTH:,}")
        self._prefix = "_c"
        # a placeholder must not be a name of the text, which Python reads in its NFKC form
        while self._prefix in unicodedata.normalize("NFKC", self.text):
            self._prefix += "_"
        self.code = self._rewritten()

    def _rewritten(self) -> str:
        pieces: list[str] = []
        size = done = 0
        for token in _TOKEN.finditer(self.text):
            replaced = self._replaced(token)
            if replaced is None:
                continue
            if not token.start():
                replaced = replaced.lstrip()  # Python would take it for an indent
            pieces += [self.text[done : token.start()], replaced]
            size += token.start() - done
            self._starts += [size, size + len(replaced)]
            self._origins += [token.start(), token.end()]
            size += len(replaced)
            done = token.end()
        return "".join([*pieces, self.text[done:]])

    def _replaced(self, token: re.Match[str]) -> str | None:
        found = token.group()
        match token.lastgroup:
            case "word":
                return " and " if found == "&" else " or "
            case "space":
                # a line break would end the expression
                return " " if found != " " else None
            case "name":
                placeholder = f"{self._prefix}{len(self.names)}_"
                self.names[placeholder] = token.group("name").replace("``", "`")
                return f" {placeholder} "
            case "triple" | "refused":
                raise self.error(_REFUSED[token.lastgroup if token.lastgroup == "triple" else found], token.start())
        return None

    def origin(self, at: int) -> int:
        """Find the place in the text that the place ``at`` (in characters) of the code comes from."""
        piece = bisect_right(self._starts, at) - 1
        # pieces left as they were and pieces put in their place take turns
        replaced = piece % 2
        return self._origins[piece] + (0 if replaced else at - self._starts[piece])

    def error(self, what: str, at: int) -> FilterError:
        """Make an error that shows the text around place ``at``, with a caret under it."""
        first = max(at - _WINDOW, 0)
        shown = re.sub(r"\s", " ", self.text[first : at + _WINDOW])
        return FilterError(f"{what}\n    {shown}\n    {' ' * (at - first)}^")


class _Reader:
    """Turns the syntax tree into a filter, one rule for each form."""

    def __init__(self, source: _Source) -> None:
        self.source = source

    def refused(self, node: ast.expr, what: str | None = None) -> FilterError:
        if what is None:
            what = _NODES.get(type(node), "this is not read in a filter")
        at = len(self.source.code.encode()[: node.col_offset].decode())  # ast counts bytes
        return self.source.error(what, self.source.origin(at))

    def predicate(self, node: ast.expr, depth: int = 0) -> Filter:  # noqa: PLR0911 - one rule for each form
        if depth > MAX_DEPTH:
            raise self.refused(node, f"nested more than {MAX_DEPTH} deep")
        match node:
            case ast.BoolOp(ast.And(), parts):
                return And(tuple(self.predicate(part, depth + 1) for part in parts))
            case ast.BoolOp(ast.Or(), parts):
                return Or(tuple(self.predicate(part, depth + 1) for part in parts))
            case ast.UnaryOp(ast.Not() | ast.Invert(), operand):
                return ~self.predicate(operand, depth + 1)
            case ast.Compare(left, ops, rights):
                pairs = zip([left, *rights], ops, rights, strict=False)
                terms = tuple(self.comparison(*pair) for pair in pairs)
                return terms[0] if len(terms) == 1 else And(terms)
            case ast.Name():
                return Compare(self.column(node), "==", value=True)
            case ast.Constant(bool() as constant):
                return And(()) if constant else Or(())
            case ast.Call():
                return self.call(node)
        raise self.refused(node)

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Filter:
        if isinstance(op, ast.In | ast.NotIn):
            return self.membership(left, right, negated=isinstance(op, ast.NotIn))
        if type(op) not in _OPS:
            raise self.refused(right, "'is' is not read: use == or .isna()")
        sign = _OPS[type(op)]
        if not isinstance(left, ast.Name):
            if not isinstance(right, ast.Name):
                raise self.refused(left, None if self._is_no_value(left) else "one side must be a column")
            # 4 < depth is depth > 4
            left, right, sign = right, left, _FLIPPED[sign]
        if isinstance(right, ast.Name):
            raise self.refused(right, "columns are compared with values, not with columns; quote a text: 'noun'")
        if isinstance(right, ast.List | ast.Tuple | ast.Set) and sign in {"==", "!="}:
            return self.membership(left, right, negated=sign == "!=")
        return Compare(self.column(left), sign, self.value(right))

    def _is_no_value(self, node: ast.expr) -> bool:
        return type(node) in _NODES and not isinstance(node, ast.Constant)

    def membership(self, left: ast.expr, right: ast.expr, *, negated: bool) -> Filter:
        if isinstance(right, ast.Name):
            raise self.refused(
                left, "'in' wants a column on the left; for a part of a text write name.str.contains('text')"
            )
        return IsIn(self.column(left), self.values(right), negated)

    def column(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Name):
            raise self.refused(node, "one side must be a column" if isinstance(node, ast.Constant) else None)
        try:
            return _scalars.text(self.source.names.get(node.id, node.id))
        except FilterError as error:
            raise self.refused(node, str(error)) from error

    def values(self, node: ast.expr) -> tuple[Scalar, ...]:
        if not isinstance(node, ast.List | ast.Tuple | ast.Set):
            raise self.refused(node, "a list of values is wanted here, such as ['noun', 'verb']")
        return tuple(self.value(element) for element in node.elts)

    def value(self, node: ast.expr) -> Scalar:
        try:
            match node:
                # True is an int, but no number here
                case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as number)) if not isinstance(number, bool):
                    return scalar(-number)
                case ast.UnaryOp(ast.UAdd(), ast.Constant(int() | float() as number)) if not isinstance(number, bool):
                    return scalar(number)
                case ast.Constant(constant):
                    return scalar(constant)
                case ast.Call(ast.Name(tag), [ast.Constant(str() as literal)], []) if tag in _scalars.READERS:
                    return _scalars.read(tag, literal)
        except FilterError as error:
            raise self.refused(node, str(error)) from error
        raise self.refused(node)

    def text(self, node: ast.expr) -> str:
        value = self.value(node)
        if not isinstance(value, str):
            raise self.refused(node, "a text is wanted here")
        return value

    def call(self, node: ast.Call) -> Filter:
        match node.func:
            case ast.Name("ids") if len(node.args) == 1 and not node.keywords:
                return Ids(self.values(node.args[0]))
            case ast.Attribute(ast.Attribute(ast.Name() as column, "str"), method):
                return self.text_method(node, self.column(column), method)
            case ast.Attribute(ast.Name() as column, method) if not node.keywords:
                return self.method(node, self.column(column), method)
        raise self.refused(node)

    def method(self, node: ast.Call, column: str, method: str) -> Filter:
        match method, node.args:
            case "isna" | "isnull", []:
                return IsNull(column)
            case "notna" | "notnull", []:
                return IsNull(column, negated=True)
            case "isin", [values]:
                return IsIn(column, self.values(values))
            case "between", [low, high]:
                return And((Compare(column, ">=", self.value(low)), Compare(column, "<=", self.value(high))))
            case "like", [pattern]:
                return TextMatch(column, "like", self.text(pattern))
        known = method in _METHODS
        raise self.refused(
            node, f"{method} has other arguments" if known else f"no method {method!r}; {hint(method, _METHODS)}"
        )

    def text_method(self, node: ast.Call, column: str, method: str) -> Filter:
        match method, node.args, node.keywords:
            case "startswith", [text], []:
                return TextMatch(column, "startswith", self.text(text))
            case "contains", [text], [ast.keyword("regex", ast.Constant(False))]:
                return TextMatch(column, "contains", self.text(text))
            case "contains", [text], [] if METACHARACTERS.search(self.text(text)):
                raise self.refused(text, "contains is literal, pandas reads a pattern here: add regex=False")
            case "contains", [text], []:
                return TextMatch(column, "contains", self.text(text))
        known = method in _TEXT_METHODS
        what = (
            f"str.{method} takes one text, no pattern" if known else f"no str.{method}; {hint(method, _TEXT_METHODS)}"
        )
        raise self.refused(node, what)
