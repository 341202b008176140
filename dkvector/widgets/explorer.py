"""`Explorer`: type a query, look at the rows, change one thing, look again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import traitlets as t

from dkvector.errors import FilterError
from dkvector.indexes import Tuning
from dkvector.metrics import DistanceMetric
from dkvector.widgets.answering import Answers, Asked, Outcome
from dkvector.widgets.asking import Asker
from dkvector.widgets.asks import Asks
from dkvector.widgets.base import SettledFrame, front_end, look
from dkvector.widgets.choices import choices
from dkvector.widgets.judging import Judgements
from dkvector.widgets.page import SHOWN, beyond, page
from dkvector.widgets.question import Question, filter_read, knobs_typed, typed, where_typed
from dkvector.widgets.rows import labels_of
from dkvector.widgets.still import Still, result

ASKED = ("query", "by", "k", "where", "field", "metric", "tuning", "less", "compare")


class Explorer(Asks):
    """Ask a store by text, by a row or by a vector, and see the rows.

    Args:
        store: what is asked.
        encoder: embeds the texts, where the store has no encoder of its own.
        query: what to begin with: a text, a row's label, or a vector.
        by: how the query is read: "text", "row", "vector", or "words" for a text by its meaning and by its words.
            By default a text where there is an encoder, else a row.
        k: rows wanted.
        where: a filter, as text or as an expression.
        field: the vector field, where there are several.
        metric: what to measure by; the field's own by default.
        tuning: search-time knobs.
        against: a second store to ask beside the first.
        compare: "exact" or "other" shows an exact run, or the second store's rows, beside.
        name: what the store is called in `code`.
        encoder_name: what the encoder is called in `code`.

    Attributes:
        value: the rows found, as `store.search` gives them.
        reference: the rows of the run beside it.
        selection: labels of the rows that are selected; can be set.
        less: labels of the rows to move away from.
        code: the line of Python that gives `value` again.
        error: what went wrong, in words; `run()` raises it.
        relevance: rows that were judged: `query`, `row`, `relevant`.

    Example:
        >>> import dkvector as dkv
        >>> store = dkv.datasets.load_digits().vec.push("exact", metric="euclidean")
        >>> explorer = Explorer(store, query="0", by="row", k=3)
        >>> explorer.code
        'store.search(like=0, k=3)'
        >>> len(explorer.value)
        3
    """

    _esm = front_end("explorer")
    _css = look()

    field = t.Unicode().tag(sync=True)
    metric = t.Unicode().tag(sync=True)
    tuning = t.Dict().tag(sync=True)
    compare = t.Enum(["", "exact", "other"], "").tag(sync=True)
    less: t.List[Any] = t.List()
    selection: t.List[Any] = t.List()
    value = SettledFrame()
    reference = SettledFrame()
    _page = t.Dict().tag(sync=True)
    _beside = t.Dict().tag(sync=True)
    _less_shown: t.List[Any] = t.List().tag(sync=True)
    _selected: t.List[Any] = t.List().tag(sync=True)  # places of the selected rows in the page
    _chosen = t.Int().tag(sync=True)  # how many rows are selected, shown or not

    def __init__(
        self,
        store: Any,
        encoder: Any = None,
        *,
        query: Any = "",
        by: str | None = None,
        k: int = 10,
        where: Any = "",
        field: str = "",
        metric: DistanceMetric | str | None = None,
        tuning: Tuning | Mapping[str, Any] | None = None,
        against: Any = None,
        compare: str = "",
        name: str = "store",
        encoder_name: str = "encoder",
    ) -> None:
        self._asker = Asker.of(store, encoder, name, encoder_name)
        self._other = None if against is None else Asker.of(against, encoder, "other", encoder_name)
        self._judgements = Judgements()
        self._asks(Answers(self._asker, self._other), partial(labels_of, self._asker.store))
        self._shown: Question | None = None  # what the page answers
        self._asker.store.store.known  # noqa: B018 - an empty or closed store is refused here
        text, read = typed(query)
        super().__init__(
            query=text,
            by=by or read or ("text" if self._asker.embeds else "row"),
            k=k,
            where=where_typed(where),
            field=field,
            metric=str(metric or ""),
            tuning=knobs_typed(tuning),
            compare=compare,
        )
        self._choices = choices(self._asker, self._other)
        self._begin()

    def _begin(self) -> None:
        self._follow(ASKED)
        self.observe(self._select, "selection")

    @property
    def question(self) -> Question:
        """What is asked, as it stands."""
        by: Any = self.by
        return Question(self.query, by, self.k, self.where, self.field, self.metric, self.tuning, tuple(self.less))

    @property
    def _asked(self) -> Asked:
        return Asked(self.question, self.compare)

    @property
    def relevance(self) -> pd.DataFrame:
        """Rows that were judged: a frame with the columns `query`, `row` and `relevant`.

        Those that are relevant are what `evaluate(relevant=…)` takes.
        """
        return self._judgements.to_frame()

    def judge(self, row: Any, *, relevant: bool | None) -> None:
        """Judge a row for the query that is asked.

        Args:
            row: its label.
            relevant: whether it is right; None, or the same again, takes the judgement back.
        """
        self.settle()
        self._judge(row, relevant)

    def _judge(self, row: Any, relevant: bool | None) -> None:
        """Judge a row for the query that the rows shown are an answer to."""
        query = self.query if self._shown is None else self._shown.query
        self._judgements.judge(query, row, relevant)
        self._draw()

    def more_like(self, row: Any) -> None:
        """Ask for the neighbours of a row."""
        with self.hold_trait_notifications():
            self.query, self.by, self.less = str(row), "row", []

    def less_like(self, row: Any) -> None:
        """Move the query away from a row, and leave it out."""
        if row not in self.less:
            self.less = [*self.less, row]

    def _where_problem(self) -> str:
        try:
            filter_read(self.where, self._asker.store.store.known)
        except FilterError as error:
            return str(error)
        return ""

    def _changed(self, change: Any) -> None:
        self._less_shown = [str(row) for row in self.less]
        super()._changed(change)

    def _take(self, asked: Asked, outcome: Outcome) -> None:
        self._shown = asked.question
        self.set_trait("code", self._asker.code(asked.question))
        self.value, self.reference = outcome.frame, outcome.reference
        self._draw()

    def _draw(self) -> None:
        """Send the rows to the front end."""
        ours, theirs = self._held("value"), self._held("reference")
        judged = self._judgements.of(self.query if self._shown is None else self._shown.query)
        self._page = {} if ours is None else page(ours, beyond(ours, theirs), "extra", judged)
        self._beside = {} if theirs is None else page(theirs, beyond(theirs, ours), "missing")
        self._select(None)

    def _select(self, _: Any) -> None:
        """Mark the rows of the selection that are shown."""
        chosen = set(self.selection)
        self._chosen = len(chosen)
        self._selected = [at for at, row in enumerate(self._labels()) if row in chosen]

    def _labels(self) -> list[Any]:
        """Give the labels of the rows that the page shows."""
        held = self._held("value")
        return [] if held is None else held.index[:SHOWN].tolist()

    def _told(self, widget: Any, content: Any, buffers: Any) -> None:
        """Do what a button of the page says."""
        super()._told(widget, content, buffers)
        what, at = content.get("do"), content.get("at", -1)
        if what == "clear":
            self.selection = []
        elif what == "keep" and 0 <= at < len(self.less):
            self.less = self.less[:at] + self.less[at + 1 :]
        elif what in {"more", "less", "right", "wrong", "select"}:
            self._do(what, at, content.get("label"))
        else:
            return
        self.notice()

    def _do(self, what: str, at: int, label: str) -> None:
        """Do something to a row, unless the page that was looked at shows other rows by now."""
        shown = self._labels()
        if not 0 <= at < len(shown) or str(shown[at]) != label:
            return
        if what == "more":
            self.more_like(shown[at])
        elif what == "less":
            self.less_like(shown[at])
        elif what == "select":
            others = [row for row in self.selection if row != shown[at]]
            self.selection = others if len(others) < len(self.selection) else [*others, shown[at]]
        else:
            self._judge(shown[at], relevant=what == "right")

    def _still(self) -> Still:
        return result("Explorer", self.code, self.value, self.error or self.where_error)
