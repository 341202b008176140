"""A trait that holds row labels, in whatever form they are given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import traitlets as t


class Labels(t.TraitType[list[Any], Any]):
    """Row labels as a list; takes a result, a Series, an index, any list of labels, or None for none.

    A boolean Series stands for the labels where it is true.

    Example:
        >>> class Chosen(t.HasTraits):
        ...     rows = Labels()
        >>> chosen = Chosen(rows=pd.DataFrame({"score": [0.9, 0.5]}, index=["a", "b"]))
        >>> chosen.rows
        ['a', 'b']
        >>> chosen.rows = pd.Series({"a": False, "b": True})
        >>> chosen.rows
        ['b']
    """

    info_text = "row labels: a list, an index, a result, or a boolean Series"

    def make_dynamic_default(self) -> list[Any]:
        """Begin with none."""
        return []

    def validate(self, obj: Any, value: Any) -> list[Any]:
        """Read labels.

        Raises:
            TraitError: what is no collection of labels; a text is one label, and goes into a list.
        """
        if isinstance(value, pd.Series) and value.dtype == bool:
            value = value.index[value]
        if isinstance(value, pd.DataFrame | pd.Series):
            value = value.index
        if value is None:
            return []
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            self.error(obj, value)
        return list(dict.fromkeys(value.tolist() if isinstance(value, pd.Index | np.ndarray) else value))
