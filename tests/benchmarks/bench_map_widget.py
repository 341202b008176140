"""The map in a browser: how soon it is there, how many pictures a second while it moves, how soon a lasso is in Python.

Where there are more points than 100,000, moving is measured with some of them drawn and with all, turn by turn.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import browser

CELL = """
import numpy as np, pandas as pd, dkvector as dkv
rng = np.random.default_rng(0)
kind = rng.integers(0, 12, {count})
xy = (rng.normal(size=(12, 2)) * 4)[kind] + rng.normal(size=({count}, 2))
view = pd.DataFrame({{"x": xy[:, 0], "y": xy[:, 1], "kind": pd.Categorical(kind)}})
map = dkv.widgets.Map(view, color="kind", height=420)
map
"""
API = "[...document.querySelectorAll('.dkv-stage div')].find((one) => one.api).api"
# one step of a drag for each picture; `all` keeps every point drawn
MOVE = f"""async (all) => {{
  const api = {API}, filter = api.filter, steps = 20;
  if (all) api.filter = () => {{}};
  const picture = () => new Promise((done) => api.subscribe('draw', done, 1));
  const from = [...api.get('cameraView')];
  const turn = async (i) => {{
    const seen = Float32Array.from(from);
    seen[12] += 0.02 * i;
    const drawn = picture();
    api.view(seen);
    await drawn;
    await new Promise(requestAnimationFrame);
  }};
  await turn(1);
  await turn(2);
  const began = performance.now();
  for (let i = 0; i < steps; i += 1) await turn(i);
  const rate = 1000 * steps / (performance.now() - began);
  api.view(Float32Array.from(from));
  api.filter = filter;
  return rate;
}}"""
LASSO = f"""() => {{
  const api = {API};
  api.lassoSelect([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], {{ isGl: true }});
  return [...api.get('selectedPoints')].length;
}}"""


def measured(lab, count):
    """Give seconds until the map is there, pictures a second with some and with all points, seconds of a lasso."""
    began = time.perf_counter()
    page = lab.open(CELL.format(count=count))
    page.locator(".dkv-map[data-ready]").wait_for(timeout=120_000)
    there = time.perf_counter() - began
    some, full = [], []
    for _ in range(3):
        some.append(page.evaluate(MOVE, arg=False))
        page.wait_for_function(f"() => !{API}.get('isPointsFiltered')", timeout=60_000)
        full.append(page.evaluate(MOVE, arg=True))
    began = time.perf_counter()
    chosen = page.evaluate(LASSO)
    while lab.value("len(map.selection)") != chosen:
        time.sleep(0.02)
    return there, max(some), max(full), time.perf_counter() - began, chosen


if shutil.which("chromium") is None:
    print("no chromium on this machine: nothing is measured")
    sys.exit()
with browser.server(Path(tempfile.mkdtemp())) as jupyter, browser.lab(jupyter) as lab:
    lab.page.set_default_timeout(120_000)
    print("rows      there     moving    with all   lasso in Python")
    for count in (5_000, 50_000, 500_000):
        there, some, full, lassoed, chosen = measured(lab, count)
        print(f"{count:<9,} {there:5.1f} s {some:7.1f}/s {full:9.1f}/s {lassoed:8.2f} s ({chosen:,} rows)", flush=True)
