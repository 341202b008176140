"""Search, judge and understand the embeddings in a DataFrame."""
