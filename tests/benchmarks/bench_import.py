"""What `import dkvector` costs beside pandas and pyarrow alone: CPU time in fresh processes, the least of N."""

import argparse
import subprocess
import sys

TARGET = 1.3
STATEMENTS = ["import pandas, pyarrow", "import dkvector"]


def seconds(statement: str) -> float:
    """CPU seconds of one import in a process of its own, the start of Python left out."""
    code = f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
    return float(subprocess.check_output([sys.executable, "-I", "-c", code]))


def main() -> int:
    """Measure in turn, so that a busy moment hits both, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    runs = range(parser.parse_args().repeats)
    times = zip(*([seconds(statement) for statement in STATEMENTS] for _ in runs), strict=True)
    base, ours = (min(column) for column in times)
    print(f"{STATEMENTS[0]}: {base * 1e3:.0f} ms   {STATEMENTS[1]}: {ours * 1e3:.0f} ms")
    print(f"ratio {ours / base:.2f}, target {TARGET}: {'met' if ours / base <= TARGET else 'MISSED'}")
    return int(ours / base > TARGET)


if __name__ == "__main__":
    sys.exit(main())
