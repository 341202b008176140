"""What other libraries' filters need beside ours: a NOT that also gives the rows whose value is missing."""

from __future__ import annotations

from dkvector.filters import And, Compare, Filter, IsIn, IsNull, Or, TextMatch

EVERY: Filter = And(())
NONE: Filter = Or(())


def untrue(where: Filter) -> Filter:
    """Make the filter that holds for just the rows that another does not hold for.

    Ours and SQL's `~` leaves rows out whose value is missing; in Python's logic, which other libraries have, they are
    what the filter is not true of.

    Args:
        where: a filter.

    Returns:
        Its complement.

    Example:
        >>> untrue(Compare("page", "==", 1))
        <Filter: page != 1 or page.isna()>
    """
    match where:
        case And(terms):
            return Or(tuple(map(untrue, terms)))
        case Or(terms):
            return And(tuple(map(untrue, terms)))
        case Compare(column) | IsIn(column) | TextMatch(column):
            return Or((~where, IsNull(column)))
    return ~where


def every(terms: list[Filter]) -> Filter:
    """Give the filter that holds where all of these do."""
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def either(terms: list[Filter]) -> Filter:
    """Give the filter that holds where any of these does."""
    return terms[0] if len(terms) == 1 else Or(tuple(terms))
