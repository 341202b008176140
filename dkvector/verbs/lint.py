"""`df.vec.check`: what is odd about the vectors of a frame, and the code that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dkvector.verbs import _lint_models, _lint_space, _lint_values
from dkvector.verbs._subject import Subject
from dkvector.verbs.report import Finding, Report

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    _lint_values.unusable,
    _lint_values.storage,
    _lint_values.constant,
    _lint_values.lengths,
    _lint_values.short,
    _lint_models.named,
    _lint_models.padding,
    _lint_models.unrelated,
    _lint_models.lengths_of_two_kinds,
    _lint_models.precisions,
    _lint_space.copies,
    _lint_space.near_duplicates,
    _lint_space.hubs,
    _lint_space.common_direction,
)
SEVERITIES = ("error", "warning", "info")


def check(subject: Subject, checks: tuple[Check, ...] = CHECKS) -> Report:
    """Look at vectors in every way.

    Args:
        subject: the vectors.
        checks: what to look for.

    Returns:
        What was found, the worst first.
    """
    found = [finding for one in checks for finding in one(subject)]
    worst_first = sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
    count, dimensions = subject.rows.matrix.shape
    vectors = f"{count:,} {'vector' if count == 1 else 'vectors'} of {dimensions} dimensions"
    return Report(f"{subject.name}: {vectors}, by {subject.metric}", tuple(worst_first))
