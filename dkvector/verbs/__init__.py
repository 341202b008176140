"""The verbs of a frame with vectors, one module each; `relating` and `exploring` are how `df.vec` says them."""
