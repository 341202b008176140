#!/usr/bin/env python3
"""Build digits.parquet from the copy of the UCI handwritten digits that scikit-learn ships.

Output in --out: digits.parquet, 1,797 rows: embedding fixed_size_list<uint8>[64] (8 x 8 pixels, 0..16), digit int8.
LICENSE.digits must travel with every copy. Needs: pyarrow scikit-learn.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

NOTE = {
    "source": "Optical Recognition of Handwritten Digits (test set), E. Alpaydin and C. Kaynak, UCI Machine Learning Repository",
    "url": "https://archive.ics.uci.edu/dataset/80",
    "licence": "CC BY 4.0",
}


def digits_table() -> pa.Table:
    pixels, digits = load_digits(return_X_y=True)
    small = pixels.astype(np.uint8)
    assert (small == pixels).all() and small.max() <= 16, "a pixel is no integer in 0..16"
    table = pa.table(
        {
            "embedding": pa.FixedSizeListArray.from_arrays(small.reshape(-1), small.shape[1]),
            "digit": pa.array(digits, pa.int8()),
        }
    )
    return table.replace_schema_metadata({"dkvector": json.dumps(NOTE)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    path = parser.parse_args().out / "digits.parquet"
    pq.write_table(digits_table(), path, compression="zstd", compression_level=19, use_dictionary=["digit"])
    print(f"{path}  {pq.read_metadata(path).num_rows} rows  {path.stat().st_size:,} bytes")
