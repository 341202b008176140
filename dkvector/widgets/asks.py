"""What widgets share that ask for neighbours: a query, how it is read, k and a filter, answered off the loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pandas as pd
import traitlets as t

from dkvector.errors import DkvectorError, FilterError, SchemaError
from dkvector.widgets.answering import Asked, Outcome
from dkvector.widgets.base import Widget
from dkvector.widgets.latest import Latest
from dkvector.widgets.question import Question
from dkvector.widgets.rows import Rows


class Asks(Widget):
    """A widget that asks for the neighbours of what is typed, among the rows that satisfy a filter.

    Attributes:
        query: a text, the label of a row, or the numbers of a vector.
        by: how that is read.
        k: rows wanted.
        where: the filter; blank for none.
        where_error: what is wrong with it, in words.
    """

    query = t.Unicode().tag(sync=True)
    by = t.Enum(["text", "row", "vector", "words"], "text").tag(sync=True)
    k = t.Int(10, min=1).tag(sync=True)
    where = t.Unicode().tag(sync=True)
    where_error = t.Unicode(read_only=True).tag(sync=True)
    _choices = t.Dict().tag(sync=True)  # what the front end offers
    _offered = t.Dict().tag(sync=True)  # labels that hold what is typed

    def _asks(self, answers: Callable[[Asked], Outcome], labels: Callable[[], Iterable[Any]]) -> None:
        """Tell what answers, and which labels are offered; first of all."""
        # before traitlets' own __init__, which opens the comm and so reads traits that look whether something is asked
        self._latest: Latest[Asked, Outcome] = Latest(answers, self._show)
        self._rows: Latest[str, list[str]] = Latest(Rows(labels).near, self._offer)
        self._answer: tuple[Asked, Outcome] | None = None  # the last one, good or bad

    def _follow(self, names: Collection[str]) -> None:
        """Answer what is asked from the beginning, then follow every change of these traits."""
        self.set_trait("where_error", self._where_problem())
        if not self.question.blank and not self.where_error:
            # not in the background: the cell that makes a widget may read its answer in the next line
            self._latest.now(self._asked)
        self.observe(self._changed, list(names))
        self.on_msg(self._told)

    @property
    def question(self) -> Question:
        """What is asked, as it stands."""
        raise NotImplementedError

    @property
    def _asked(self) -> Asked:
        return Asked(self.question)

    def settle(self) -> None:
        """Answer what is asked here and now, if it is still being answered."""
        if self._latest.busy and not self._sending:
            self._latest.now(self._asked)

    def run(self) -> pd.DataFrame:
        """Ask here and now.

        Returns:
            The rows found.

        Raises:
            DkvectorError: what `store.search` raises; it is shown in the widget too.
        """
        if self.question.blank:
            raise SchemaError("nothing is asked: set query")
        outcome = self._latest.now(self._asked)
        if outcome.frame is None:
            raise outcome.error or SchemaError("nothing was found out")
        return outcome.frame

    def _where_problem(self) -> str:
        """Tell what is wrong with the filter."""
        raise NotImplementedError

    def _take(self, asked: Asked, outcome: Outcome) -> None:
        """Show the answer to a question, or that nothing is asked."""
        raise NotImplementedError

    def _changed(self, _: Any) -> None:
        """Ask anew, in the background, once what is typed can be read."""
        try:
            problem, asked = self._where_problem(), self._asked
        except DkvectorError as error:  # of a store that was closed meanwhile, and tells nothing of itself
            self._latest.forget()
            self._show(Asked(Question(self.query)), Outcome(error=error))
            return
        self.set_trait("where_error", problem)
        if problem:
            self._latest.forget()
            self.set_trait("busy", False)  # noqa: FBT003 - the trait's value
        elif self.question.blank:
            self._latest.forget()
            self._show(asked, Outcome())
        # traits that change together are told one by one: the first has it asked, the others find it answered
        elif self._answer is not None and self._answer[0] == asked and not self._latest.busy:
            self._show(*self._answer)
        else:
            self.set_trait("busy", True)  # noqa: FBT003
            self._latest.ask(asked)

    def _show(self, asked: Asked, outcome: Outcome) -> None:
        """Show what came of a question; after an error, what the last good answer gave stays."""
        self._answer, error = (asked, outcome), outcome.error
        filtered = isinstance(error, FilterError)
        with self.hold_sync():
            self.set_trait("where_error", str(error) if filtered else "")
            self._tell(error=None if filtered else error, status=outcome.told)
            if error is None:
                self._take(asked, outcome)

    def _offer(self, begun: str, labels: list[str]) -> None:
        """Offer rows to choose from."""
        self._offered = {"begun": begun, "labels": labels}

    def _told(self, _: Any, content: Any, __: Any) -> None:
        """Do what the page says."""
        if content.get("do") == "complete":
            self._rows.ask(content.get("label", ""))
        elif content.get("do") == "ask":
            # else an equal question would be shown its old answer
            self._answer = None
            self._changed(None)
            self.notice()
