"""The folder of a store: reopening to the first answer in a fresh process, and a durable write of one row.

Run it alone on the machine, on the disk that counts: ``python tests/benchmarks/bench_folder.py [200000]``.
It is made in the current directory, since a temporary one may lie in memory; TMPDIR says otherwise.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from _data import clustered, framed, line

import dkvector as dkv

SPECS = {"flat": dkv.Flat(), "ivf": dkv.IVF(), "hnsw": dkv.HNSW(m=16, ef_construction=40)}
WRITES = 300

REOPEN = """
import sys, time
import numpy as np
import dkvector as dkv
import dkvector.backends.faiss
query = np.load(sys.argv[2])
start = time.perf_counter()
store = dkv.connect("faiss", path=sys.argv[1])
opened = time.perf_counter()
found = store.search(query, 10)
print(opened - start, time.perf_counter() - start, len(found))
"""


def reopening(kind, folder, query) -> None:
    """Open and search once in a process of its own, imports not counted; the fastest and the middle of nine."""
    runs = []
    for _ in range(9):
        told = subprocess.run([sys.executable, "-c", REOPEN, folder, query], capture_output=True, text=True, check=True)
        opened, answered, hits = map(float, told.stdout.split())
        assert hits == 10
        runs.append((answered * 1e3, opened * 1e3))
    (best, opened), middle = min(runs), statistics.median(run[0] for run in runs)
    name = f"{kind}: reopening to the first answer"
    print(f"{name:<52}{best:>11.3f}{'':>19}  ≤ 50; median {middle:.1f}, opening {opened:.1f} of the fastest")


def synced(path, data) -> None:
    """Write bytes to a new file and flush it: what durability costs at the least."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(handle, data)
    os.fsync(handle)
    os.close(handle)


def swapped(path, data) -> None:
    """Put bytes in the place of a file, whole or not at all: what an atomic commit costs at the least."""
    fresh = path.with_name("fresh")
    synced(fresh, data)
    fresh.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def one_frame(frame, at):
    return frame.iloc[[at]]


def one_table(frame, at):
    row = frame.iloc[[at]]
    return pa.table({"id": pa.array(row.index), **{name: pa.array(row[name].array) for name in row}})


def one_row(kind, store, frame, form) -> None:
    """Replace one row again and again, in turn with a bare flush, and an atomic swap, of as many bytes.

    The bytes are those that the write has put into the log; the few writes that make a row file of it are told apart.
    """
    folder, took, bare, atomic, folds = store.store.path, [], [], [], []
    for at in range(WRITES):
        row = form(frame, (at * 7919) % len(frame))
        before = store.store.rows.log_end
        start = time.perf_counter()
        store.upsert(row)
        ended, after = time.perf_counter() - start, store.store.rows.log_end
        if after <= before:
            folds.append(ended)
            continue
        took.append(ended)
        data, path = log_of(folder).read_bytes()[before:after], folder / "bare"
        start = time.perf_counter()
        synced(path, data)
        bare.append(time.perf_counter() - start)
        start = time.perf_counter()
        swapped(path, data)
        atomic.append(time.perf_counter() - start)
        path.unlink()
    name = f"{kind}: a {form.__name__[4:]} of one row, {len(data):,} bytes"
    middle, best = (statistics.median(took) * 1e3, min(took) * 1e3)
    line(f"{name}, median", middle, statistics.median(bare) * 1e3, "≤ 3 x one fsync")
    line(f"{name}, fastest", best, min(bare) * 1e3, "≤ 3 x one fsync")
    told = f"; {len(folds)} of {WRITES} made a row file, in {statistics.median(folds) * 1e3:.1f} ms" if folds else ""
    line("  the same beside an atomic swap, median", middle, statistics.median(atomic) * 1e3, told[2:])


def log_of(folder):
    (log,) = folder.glob("log-*")
    return log


def filled_log(store, frame) -> Path:
    """Fill the log almost to its end, and give what a killed writer would leave then."""
    at, killed = 0, store.store.path.with_name(store.store.path.name + "-killed")
    while store.store.rows.log_end < 0.98 * log_of(store.store.path).stat().st_size:
        store.upsert(frame.iloc[[at]])
        at += 1
    shutil.copytree(store.store.path, killed, copy_function=os.link)
    return killed


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    vectors, queries = clustered(rows)
    frame = framed(vectors)
    where = os.environ.get("TMPDIR", Path.cwd())
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=where) as name:
        query = str(Path(name) / "query.npy")
        np.save(query, queries[7])
        print(f"\n{rows:,} rows of 384 in {where}{'':<20}{'ours ms':>11}{'bare':>11}{'ratio':>8}  target")
        for kind, spec in SPECS.items():
            folder = Path(name) / kind
            with frame.vec.push("faiss", path=folder, index=spec, progress=False) as store:
                store.upsert(frame.iloc[[0]])  # finds its row by a table that the first write makes
                for form in (one_frame, one_table):
                    one_row(kind, store, frame, form)
                killed = filled_log(store, frame)
            reopening(kind, str(folder), query)
            reopening(f"{kind}, a full log", str(killed), query)


if __name__ == "__main__":
    main()
