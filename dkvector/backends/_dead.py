"""Which rows are dead, on disk: a mask of bits, and beside it in the manifest the few positions that died since."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dkvector.backends._checks import compare
from dkvector.backends._manifest import Manifest
from dkvector.backends._marks import Mask

LOOSE = 1_000  # dead rows that a manifest lists itself, before they get a new mask


def buried(before: Manifest, known: Mask, dead: Mask) -> tuple[int, ...] | None:
    """Give the positions that a manifest lists beside the mask there is; None where a new mask is due.

    Args:
        before: the last manifest.
        known: `(n,)` marks the dead rows that it tells of.
        dead: `(m,)` marks all, of the same positions and later ones.
    """
    fresh = dead.copy()
    fresh[: len(known)] &= ~known[: len(dead)]
    listed = (*before.buried, *np.flatnonzero(fresh).tolist())
    return listed if len(listed) <= LOOSE else None


def packed(dead: Mask) -> bytes:
    """Give the bytes of a mask."""
    return np.packbits(dead, bitorder="little").tobytes()


def read(folder: Path, manifest: Manifest, total: int) -> Mask:
    """Read which of all rows are dead, `(total,)`.

    Raises:
        SchemaError: the mask is missing or damaged.
    """
    dead = np.zeros(total, np.bool_)
    if manifest.dead is not None:
        path = folder / manifest.dead.file
        compare(path, manifest.dead)
        bits = np.unpackbits(np.fromfile(path, np.uint8), bitorder="little")
        # bits fill whole bytes, and rows that came after the mask are alive
        dead[: manifest.dead.rows] = bits[: manifest.dead.rows]
    dead[np.array(manifest.buried, np.intp)] = True
    return dead
