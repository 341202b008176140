"""What a tortured store should hold: a dict of id → stamp, changed by operations that can be told on a pipe."""

import json
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd

import dkvector as dkv

DIMENSIONS, IDS = 32, 60
SPECS = (dkv.Flat(), dkv.HNSW(m=4, ef_construction=16), dkv.IVF(lists=2))


@dataclass(frozen=True)
class Op:
    """One write: "upsert" and "replace" give ids a stamp, "delete" takes ids, "build" an index of SPECS."""

    kind: str
    ids: list[int] = field(default_factory=list)
    stamp: int = 0

    def to_json(self):
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text) -> "Op":
        return cls(**json.loads(text))

    def after(self, state):
        """The state that this makes of another."""
        if self.kind == "delete":
            return {one: stamp for one, stamp in state.items() if one not in self.ids}
        changed = dict.fromkeys(self.ids, self.stamp)
        return changed if self.kind == "replace" else {**state, **changed}

    def do(self, store):
        if self.kind == "delete":
            store.delete(self.ids)
        elif self.kind == "build":
            store.build_index(SPECS[self.stamp % len(SPECS)])
        else:
            store.upsert(rows(self.ids, self.stamp), mode=self.kind)


def drawn(rng, state):
    """Draw what to do next: little, for the log; or large deletes at times, so that the living are numbered anew."""
    kinds = ["upsert"] * 10 + ["delete"] * 6 + ["build"] * 2 + ["replace"]
    kind = rng.choice(kinds) if state else "upsert"
    if kind == "build":
        return Op("build", stamp=rng.randrange(3))
    if kind == "delete":
        some = min(len(state), rng.choice([1, 2, len(state) // 2 + 1]))
        return Op("delete", rng.sample(sorted(state), some))
    ids = rng.sample(range(IDS), rng.choice([1, 1, 1, 2, 5, IDS // 2]))
    return Op(kind, ids, rng.randrange(1_000_000))


def vectors(ids, stamps):
    """The vectors of rows: of their id and stamp, and of nothing else."""
    drawn_each = [
        np.random.default_rng([one, stamp]).standard_normal(DIMENSIONS) for one, stamp in zip(ids, stamps, strict=True)
    ]
    return np.array(drawn_each, "f4").reshape(-1, DIMENSIONS)


def rows(ids, stamp):
    texts = [f"row {one} of {stamp}" for one in ids]
    found = list(vectors(ids, [stamp] * len(ids)))
    return pd.DataFrame({"stamp": stamp, "text": texts, "v": found}, index=pd.Index(ids, dtype="int64"))


def held(store):
    """What a store holds, every value looked at: a dict of id → stamp."""
    frame = store.to_frame()
    if not len(frame):
        return {}
    state = dict(zip(frame.index.tolist(), frame.stamp.tolist(), strict=True))
    assert len(state) == len(frame) == store.count(), "an id is there twice"
    np.testing.assert_array_equal(np.stack(frame.v), vectors(frame.index, frame.stamp))
    assert frame.text.tolist() == [f"row {one} of {stamp}" for one, stamp in state.items()]
    return state


def check_answers(store, state, rng):
    """Search in every way, and compare with what the state says."""
    if not state:
        return
    ids = sorted(state)
    every = vectors(ids, [state[one] for one in ids]).astype("f8")
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    for one in rng.sample(ids, min(2, len(ids))):
        query = every[ids.index(one)]
        right = dict(zip(ids, 1 - every @ query, strict=True))
        for exact in (True, False):
            hits = store.search(query, 10, tuning={"exact": exact})
            assert (hits.index[0] == one) or not exact, f"{one} is not nearest to itself"
            assert len(hits) == min(10, len(ids)) or not exact, f"{len(hits)} hits of {len(ids)} rows"
            np.testing.assert_allclose(hits.distance, [right[hit] for hit in hits.index], atol=1e-5)
        found = store.search(query, 10, where=f"stamp == {state[one]}")
        assert set(found.index) <= {each for each in ids if state[each] == state[one]}
        assert one in set(found.index)
        assert store.get([one]).text.tolist() == [f"row {one} of {state[one]}"]
