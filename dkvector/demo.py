"""The main job in a minute: search, filter, push, measure. Run it with ``python -m dkvector.demo``."""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import dkvector as dkv

K = 10
SWEEPS: dict[str, tuple[dkv.IVF | dkv.HNSW, list[dkv.Tuning]]] = {
    "HNSW, m=16 (ef_search)": (dkv.HNSW(m=16), [dkv.Tuning(ef_search=ef) for ef in (10, 20, 40, 80, 160, 320)]),
    "IVF, 283 lists (probes)": (dkv.IVF(), [dkv.Tuning(probes=probes) for probes in (2, 4, 8, 16, 32, 64, 128)]),
}
COLOURS = {"HNSW": "#0072B2", "IVF,": "#D55E00", "exact": "#555555"}  # Okabe and Ito's, safe for the colour-blind


def say(text: str) -> None:
    """Print a paragraph."""
    print("\n" + textwrap.fill(text, 100))  # noqa: T201 - printing is what a demonstration does


def show(frame: pd.DataFrame) -> None:
    """Print a table, cut to the width of a page."""
    with pd.option_context("display.width", 120, "display.max_columns", 12, "display.max_colwidth", 58):
        print(textwrap.indent(str(frame), "    "))  # noqa: T201 - printing is what a demonstration does


def recall(found: pd.DataFrame, exact: pd.DataFrame) -> float:
    """Measure recall@k by distance, so that ties do no harm."""
    kth = exact.groupby("query")["distance"].max()
    return float((found["distance"] <= found["query"].map(kth) + 1e-6).mean())


def measure(words: pd.DataFrame, queries: pd.Series, exact: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Search every query with every setting, one query at a time, and compare with the exact answers."""
    for name, (spec, tunings) in SWEEPS.items():
        with words.vec.push("faiss", index=spec, columns=[]) as store:
            for tuning in tunings:
                share = recall(store.search(queries, K, tuning=tuning), exact)
                rate = speed(store, queries, tuning)
                yield {"index": name, "knob": tuning.ef_search or tuning.probes, "recall": share, "rate": rate}
    with words.vec.push("faiss", columns=[]) as store:
        yield {"index": "exact", "knob": "", "recall": 1.0, "rate": speed(store, queries, dkv.Tuning())}


def speed(store: dkv.VectorStore, queries: pd.Series, tuning: dkv.Tuning) -> float:
    """Measure queries a second, the whole call counted: the median of 100 single ones."""
    took = []
    # the first ten only warm up
    for query in queries.iloc[:110]:
        start = time.perf_counter()
        store.search(query, K, tuning=tuning)
        took.append(time.perf_counter() - start)
    return 1 / float(np.median(took[10:]))


def plot(runs: pd.DataFrame, path: Path) -> None:
    """Draw recall against speed."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    for name, run in runs.groupby("index", sort=False):
        colour = COLOURS[str(name)[:4] if name != "exact" else "exact"]
        axes.plot(run["recall"], run["rate"], "o-" if len(run) > 1 else "D", color=colour, label=name, markersize=5)
        # two curves that cross keep their labels apart: above on the right, below on the left
        place, side = ((-5, -11), "right") if colour == COLOURS["IVF,"] else ((5, 5), "left")
        style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "color": colour, "ha": side}
        for _, one in run.iterrows():
            axes.annotate(str(one.knob), (one.recall, one.rate), place, **style)
    axes.set(
        xlabel=f"recall@{K}",
        ylabel="queries a second",
        yscale="log",
        title="What approximation costs on 20,000 WordNet synsets",
    )
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda rate, _: f"{rate:,.0f}"))
    axes.yaxis.set_minor_formatter(
        mpl.ticker.FuncFormatter(lambda rate, _: f"{rate:,.0f}" if str(rate)[0] in "25" else "")
    )
    axes.grid(which="both", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def searched(words: pd.DataFrame) -> None:
    """Show the frame, and searches of it."""
    say(f"1. A DataFrame with embeddings: {len(words):,} WordNet synsets, dtype {words['embedding'].dtype}.")
    show(words[["pos", "gloss", "depth", "embedding"]].head(3))

    say("2. Rows like one row, exact, in memory: words.vec.search(like='dog.n.01', k=5)")
    show(words.vec.search(like="dog.n.01", k=5, columns=["gloss"]))

    say("3. The same, filtered before the neighbours are taken: where=\"pos == 'verb' and depth > 2\"")
    show(words.vec.search(like="dog.n.01", k=5, where="pos == 'verb' and depth > 2", columns=["gloss"]))


def stored(words: pd.DataFrame, queries: pd.DataFrame, folder: Path) -> None:
    """Push the frame to a folder, open it again, and search there."""
    say(f"4. Pushed to a Faiss store in the folder {folder}, with an HNSW index, and opened again from there:")
    words.vec.push("faiss", path=folder, index="hnsw", mode="replace", progress=False).close()
    sentence = queries["embedding"].iloc[1]
    with dkv.connect(folder) as store:
        say(f"   store.search(vector of {queries['query'].iloc[1]!r}, k=5)")
        show(store.search(sentence, k=5, columns=["gloss"]))
        say("   store.explain(…, where=\"lexname == 'verb.emotion'\") tells what really ran:")
        told = store.explain(sentence, where="lexname == 'verb.emotion'")
    print(textwrap.indent(str(told), "    "))  # noqa: T201 - as above


def measured(words: pd.DataFrame, queries: pd.DataFrame, path: Path) -> None:
    """Measure what approximation loses, and draw it."""
    say(f"5. How many neighbours does approximation lose? {len(queries):,} queries, recall@{K} against exact:")
    exact = words.vec.search(queries["embedding"], K, columns=[])
    runs = pd.DataFrame(measure(words, queries["embedding"], exact))
    shown = runs.assign(recall=runs["recall"].map("{:.3f}".format), rate=runs["rate"].map("{:,.0f}/s".format))
    print(textwrap.indent(shown.to_string(index=False), "    "))  # noqa: T201 - as above
    true = exact["query"].map(queries["name"]).to_numpy() == exact.index.to_numpy()
    say(
        f"   (Exact search itself finds the synset that a sentence illustrates among the first {K} for "
        f"{true.sum() / len(queries):.1%} of the sentences: that is the embedding model's limit, not the index's.)"
    )
    plot(runs, path)


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where the store and the plot go")
    out = parser.parse_args().out
    words, queries = dkv.datasets.load_wordnet(), dkv.datasets.load_wordnet_queries()
    searched(words)
    stored(words, queries, out / "words")
    measured(words, queries, out / "recall.png")
    say(f"The plot is in {out / 'recall.png'}, the store in {out / 'words'}. Next: README.md.")


if __name__ == "__main__":
    main()
