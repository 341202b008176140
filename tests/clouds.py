"""Vectors that tests of engines search among: they lie in clouds, as people's do."""

import numpy as np

DIMENSIONS = 64


def clustered(rows, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((30, DIMENSIONS)).astype("f4")
    return centres[rng.integers(0, 30, rows)] + 0.6 * rng.standard_normal((rows, DIMENSIONS)).astype("f4")
