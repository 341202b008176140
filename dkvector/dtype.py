"""`vector[d]`: the pandas dtype of a column of vectors.

>>> import numpy as np, pandas as pd
>>> column = pd.Series([[0.6, 0.8], None, [1.0, 0.0]]).astype("vector[2]")
>>> column
0    [0.60, 0.80] ‖1.00‖
1                   <NA>
2    [1.00, 0.00] ‖1.00‖
dtype: vector[2]
>>> column.mean()
array([0.8, 0.4], dtype=float32)
>>> np.shares_memory(column[0], column.array.matrix)
True
"""

from dkvector._vector_array import VectorArray
from dkvector._vector_dtype import VectorDtype

__all__ = ["VectorArray", "VectorDtype"]
