"""How fast the bundled encoder is, beside its own largest part: the products of its linear layers."""

import time

import numpy as np

import dkvector as dkv
from dkvector import _minilm
from dkvector._gelu import gelu

ROUNDS = 5


def fastest(work):
    """Wall and CPU seconds of the fastest round."""
    took = []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        took.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(took)


def products(encoder, tokens):
    """The matrix products alone that so many tokens need, in passes of the encoder's own size."""
    sizes = [
        weights[0] for layer in encoder._layers for weights in (layer.attend, layer.mix, layer.widen, layer.narrow)
    ]
    rng = np.random.default_rng(0)
    inputs = {rows: rng.standard_normal((_minilm.AT_ONCE, rows)).astype(np.float32) for rows in (384, 1536)}

    def work():
        for start in range(0, tokens, _minilm.AT_ONCE):
            for weights in sizes:
                _ = inputs[len(weights)][: tokens - start] @ weights

    return work


def main():
    dkv.show_versions()
    encoder = dkv.datasets.load_encoder()
    sentences = dkv.datasets.load_wordnet_queries()["query"].tolist()
    tokens = sum(len(encoder._tokenizer.encode(text).ids) for text in sentences)
    wall, cpu = fastest(lambda: encoder.encode(sentences))
    bare, _ = fastest(products(encoder, tokens))
    rate = f"{len(sentences) / wall:,.0f} sentences/s"
    print(f"\n{len(sentences)} sentences, {tokens:,} tokens: {rate} ({cpu / wall:.1f} cores)")
    print(f"the products alone take {bare:.2f} s, all takes {wall:.2f} s: {wall / bare:.2f} times")
    by_64, _ = fastest(lambda: dkv.Encoder(encoder, remember=False).encode(sentences, progress=False))
    print(f"through dkv.Encoder, in batches of {encoder.batch_size}: {by_64 / wall:.2f} times as long as in one call")
    wide = np.random.default_rng(0).standard_normal((4096, 1536)).astype(np.float32)
    took, _ = fastest(lambda: gelu(wide))
    print(f"gelu: {took / wide.size * 1e9:.2f} ns a number")
    known = dkv.Encoder(encoder)
    known.encode(sentences, progress=False)
    again, _ = fastest(lambda: known.encode(sentences))
    print(f"known texts: {again / len(sentences) * 1e6:.1f} µs each")


if __name__ == "__main__":
    main()
