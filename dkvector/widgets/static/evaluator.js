// Evaluator: choose what is measured, watch runs arrive, look at one of them.

const SHAPES = ["circle", "square", "up", "diamond", "down", "cross"];
const NS = "http://www.w3.org/2000/svg";

function s(tag, props = {}, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function shape(kind, x, y, r, props) {
  const paths = {
    square: `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    up: `M${x},${y - 1.3 * r}L${x + 1.2 * r},${y + r}H${x - 1.2 * r}z`,
    down: `M${x},${y + 1.3 * r}L${x + 1.2 * r},${y - r}H${x - 1.2 * r}z`,
    diamond: `M${x},${y - 1.4 * r}L${x + 1.4 * r},${y}L${x},${y + 1.4 * r}L${x - 1.4 * r},${y}z`,
    cross: `M${x - r},${y - r}L${x + r},${y + r}M${x + r},${y - r}L${x - r},${y + r}`,
  };
  return kind === "circle" ? s("circle", { cx: x, cy: y, r, ...props }) : s("path", { d: paths[kind], ...props });
}

/** Backends or stores: a tick for each, and its indexes. */
function candidatesBox(model, scope) {
  const rows = model.get("_choices").candidates.map(([label, tried]) => {
    const tick = h("input", { type: "checkbox", id: unique("candidate") });
    const name = h("label", { for: tick.id, class: "dkv-name" }, label);
    const problem = h("pre", { class: "dkv-problem", id: unique("problem"), role: "alert" });
    const input = h("input", { type: "text", autocomplete: "off", spellcheck: "false", "aria-label": `Indexes of ${label}`,
      "aria-describedby": problem.id, placeholder: "HNSW(m=[8, 16]), IVF()" });
    const save = () => {
      if (model.get("indexes")[label] === input.value) return;
      model.set("indexes", { ...model.get("indexes"), [label]: input.value });
      model.save_changes();
    };
    const pause = debounced(save);
    input.addEventListener("input", pause.later);
    input.addEventListener("change", pause.flush);
    scope.flush.push(pause.flush);
    scope.stop.push(pause.stop);
    tick.addEventListener("change", () => {
      const others = model.get("chosen").filter((one) => one !== label);
      model.set("chosen", tick.checked ? [...others, label] : others);
      model.save_changes();
    });
    const add = tried.map((text) => h("button", { type: "button", "aria-label": `add ${text} to ${label}`, onclick: () => {
      input.value = [input.value.trim(), text].filter(Boolean).join(", ");
      pause.now();
      if (!tick.checked) tick.click();
    } }, `+ ${text}`));
    const show = () => {
      tick.checked = model.get("chosen").includes(label);
      const text = model.get("indexes")[label] ?? "";
      if (!pause.pending() && input.value !== text) input.value = text;
      problem.textContent = model.get("indexes_error")[label] ?? "";
      input.setAttribute("aria-invalid", problem.textContent !== "");
    };
    ["chosen", "indexes", "indexes_error"].forEach((trait) => scope.on(`change:${trait}`, show));
    show();
    return h("div", { class: "dkv-candidate" }, h("span", { class: "dkv-line" }, tick, name),
      ...(tried.length ? [h("div", { class: "dkv-wide dkv-mono" }, input, problem, h("div", { class: "dkv-add" }, ...add))] : []));
  });
  return h("fieldset", {}, h("legend", {}, "Measure"), ...rows);
}

/** The values that a knob is tried with; blank for a usual range. */
function knobBox(model, scope, name) {
  const input = h("input", { type: "text", autocomplete: "off", placeholder: name === "candidates" ? "unset" : "usual range" });
  const read = () => {
    const words = input.value.split(/[\s,;]+/).filter(Boolean);
    return words.every((one) => /^\d+$/.test(one) && +one > 0) ? words.map(Number) : null;
  };
  const save = () => {
    const values = read();
    input.setAttribute("aria-invalid", values === null);
    if (values === null) return;
    const { [name]: _, ...others } = model.get("sweep");
    model.set("sweep", values.length ? { ...others, [name]: values } : others);
    model.save_changes();
  };
  const pause = debounced(save);
  const show = () => {
    const text = (model.get("sweep")[name] ?? []).join(", ");
    if (!pause.pending() && JSON.stringify(read()) !== JSON.stringify(model.get("sweep")[name] ?? [])) input.value = text;
  };
  input.addEventListener("input", pause.later);
  input.addEventListener("change", pause.flush);
  scope.flush.push(pause.flush);
  scope.stop.push(pause.stop);
  scope.on("change:sweep", show);
  show();
  return labelled(name, input);
}

function gridBox(model, scope) {
  const { knobs, draws, speeds } = model.get("_choices");
  const count = (trait, title, least = 1) => labelled(title, tie(model, scope, h("input", { type: "number", min: least }), trait, {
    read: (c) => (/^\d+$/.test(c.value) && +c.value >= least ? +c.value : undefined), typed: true }), "dkv-small");
  const start = h("button", { type: "button", class: "dkv-main", onclick: () => {
    scope.flush.forEach((flush) => flush());
    model.send({ do: "start" });
  } }, "Start");
  const stop = h("button", { type: "button", class: "dkv-main", onclick: () => model.send({ do: "stop" }) }, "Stop");
  const bar = h("progress", { "aria-label": "Runs" });
  const show = () => {
    const [done, total] = [...model.get("progress"), 0, 0];
    const held = !model.get("chosen").length || Object.keys(model.get("indexes_error")).length || model.get("where_error");
    start.disabled = model.get("busy") || Boolean(held);
    stop.disabled = !model.get("busy");
    bar.hidden = !model.get("busy");
    if (total) { bar.max = total; bar.value = done; } else bar.removeAttribute("value");
  };
  ["busy", "progress", "chosen", "indexes_error", "where_error"].forEach((trait) => scope.on(`change:${trait}`, show));
  show();
  const ticked = candidatesBox(model, scope);
  return [ticked,
    h("div", { class: "dkv-line" }, ...knobs.map((name) => knobBox(model, scope, name)), count("k", "k"),
      ...(draws ? [count("draw", "queries")] : []), count("repeats", "repeats"), count("clients", "clients", 0)),
    h("div", { class: "dkv-line" }, filterBox(model, scope), labelled("Draw", tie(model, scope, select(speeds), "y"))),
    h("div", { class: "dkv-line dkv-go" }, start, stop, bar)];
}

const W = 800, H = 340, LEFT = 64, TOP = 14, BOTTOM = 42;
const LONG = 34; // letters of a name in the plot
const NEAR = 2e-3; // of full recall, where the stretched axis ends
const stretch = (recall) => -Math.log10(Math.max(1 + NEAR - recall, 1e-9));

/** Recall to the right, equal steps for equal factors of what is lost; speed upwards, by factors. */
function scales(points, right) {
  const recalls = points.map((p) => p.recall), speeds = points.map((p) => p.y);
  const low = Math.max(0, Math.min(...recalls) - 0.06 * (1 + NEAR - Math.min(...recalls)) - 1e-3);
  const [x0, x1] = [stretch(low), stretch(1 + 0.2 * NEAR)];
  const [y0, y1] = [Math.log10(Math.min(...speeds)) - 0.12, Math.log10(Math.max(...speeds)) + 0.12];
  const x = (recall) => LEFT + (stretch(recall) - x0) / (x1 - x0) * (W - LEFT - right);
  const y = (speed) => H - BOTTOM - (Math.log10(speed) - y0) / (y1 - y0) * (H - TOP - BOTTOM);
  const xs = [];
  for (const tick of [1, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3, 0.1]) {
    if (tick >= low && (!xs.length || x(xs.at(-1)) - x(tick) > 44)) xs.push(tick);
  }
  const ys = [];
  for (let d = Math.floor(y0); d <= Math.ceil(y1); d += 1) {
    for (const m of y1 - y0 < 0.5 ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : y1 - y0 < 2.5 ? [1, 2, 5] : [1]) {
      const v = m * 10 ** d;
      if (Math.log10(v) >= y0 && Math.log10(v) <= y1 && (!ys.length || y(ys.at(-1)) - y(v) > 18)) ys.push(v);
    }
  }
  return { x, y, xs, ys };
}

/** Heights of labels, moved apart to a gap, inside the picture. */
function apart(heights, gap) {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  order.forEach((at, i) => { if (i) placed[at] = Math.max(placed[at], placed[order[i - 1]] + gap); });
  [...order].reverse().forEach((at, i) => {
    placed[at] = Math.min(placed[at], i ? placed[order[order.length - i]] - gap : H - BOTTOM);
  });
  return placed;
}

function plotOf(page, chosen, choose) {
  const points = page.rows.filter((row) => row.recall !== null && row.y);
  if (!points.length) return { svg: null, mark: () => {} };
  const right = 36 + 7 * Math.max(...page.series.map(([name]) => Math.min(name.length, LONG)));
  const { x, y, xs, ys } = scales(points, right);
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, class: "dkv-plot", role: "listbox", "aria-label": `${page.x} against ${page.y}` });
  const text = (content, props) => s("text", props, content);
  svg.append(...xs.map((v) => s("g", { class: "dkv-grid", "aria-hidden": "true" },
    s("line", { x1: x(v), x2: x(v), y1: TOP, y2: H - BOTTOM }), text(String(v), { x: x(v), y: H - BOTTOM + 16, "text-anchor": "middle" }))));
  svg.append(...ys.map((v) => s("g", { class: "dkv-grid", "aria-hidden": "true" },
    s("line", { x1: LEFT, x2: W - right, y1: y(v), y2: y(v) }), text(v.toLocaleString("en"), { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }))));
  svg.append(s("g", { class: "dkv-axis", "aria-hidden": "true" }, text(page.x, { x: (LEFT + W - right) / 2, y: H - 6, "text-anchor": "middle" }),
    text(page.y, { transform: `translate(12 ${(H - BOTTOM + TOP) / 2}) rotate(-90)`, "text-anchor": "middle" })));
  const ends = page.series.map(([name, colour], at) => {
    const best = points.filter((p) => p.series === at && p.best).sort((a, b) => a.recall - b.recall);
    if (best.length) svg.append(s("polyline", { points: best.map((p) => `${x(p.recall)},${y(p.y)}`).join(" "), stroke: colour, fill: "none", "stroke-width": 1.6 }));
    return { name, colour, at, end: best.at(-1) ?? points.find((p) => p.series === at) };
  }).filter((one) => one.end);
  const heights = apart(ends.map(({ end }) => Math.max(TOP + 4, y(end.y))), 16);
  ends.forEach(({ name, colour, at, end }, i) => svg.append(s("g", { "aria-hidden": "true", class: "dkv-end" },
    s("line", { x1: x(end.recall) + 6, y1: y(end.y), x2: W - right + 8, y2: heights[i], stroke: colour, opacity: 0.45 }),
    shape(SHAPES[at % SHAPES.length], W - right + 15, heights[i], 4, { fill: colour, stroke: colour }),
    text(name.length > LONG ? name.slice(0, LONG - 1) + "…" : name, { x: W - right + 24, y: heights[i] + 4 }))));
  // knobs stand beside their points, where they cover no other
  const knobs = [];
  for (const p of [...points].sort((a, b) => b.best - a.best).filter((one) => one.knob)) {
    const at = { x: x(p.recall) + 8, y: y(p.y) - 8 };
    if (knobs.some((one) => Math.abs(one.x - at.x) < 26 && Math.abs(one.y - at.y) < 12)) continue;
    knobs.push(at);
    svg.append(text(p.knob, { ...at, class: "dkv-knob", "aria-hidden": "true" }));
  }
  const order = [...points].sort((a, b) => a.series - b.series || a.recall - b.recall);
  const nodes = order.map((p, at) => {
    const [, colour] = page.series[p.series];
    const label = `${p.name}: recall ${p.recall.toFixed(3)}, ${Math.round(p.y).toLocaleString("en")} ${page.y}`;
    const node = s("g", { class: `dkv-point${p.best ? "" : " dkv-beaten"}`, role: "option", tabindex: at ? -1 : 0, "aria-label": label,
      "aria-selected": "false", onclick: () => choose(p.run), onkeydown: (e) => {
        const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: order.length - 1 }[e.key];
        if (e.key === "Enter" || e.key === " ") choose(p.run);
        else if (nodes[to]) rove(to);
        else return;
        e.preventDefault();
      } },
    s("title", {}, label), s("line", { x1: Math.max(LEFT, x(p.low)), x2: x(p.high), y1: y(p.y), y2: y(p.y), stroke: colour, opacity: 0.45 }),
    shape(SHAPES[p.series % SHAPES.length], x(p.recall), y(p.y), 5, { fill: colour, stroke: colour, "stroke-width": 1.5 }),
    s("circle", { class: "dkv-target", cx: x(p.recall), cy: y(p.y), r: 11 }));
    return node;
  });
  const rove = (to) => {
    nodes.forEach((node, i) => node.setAttribute("tabindex", i === to ? 0 : -1));
    nodes[to].focus();
  };
  svg.append(...nodes);
  const mark = (run) => nodes.forEach((node, i) => node.setAttribute("aria-selected", order[i].run === run));
  mark(chosen);
  return { svg, mark };
}

function runsTable(page, choose) {
  const rows = page.rows.map((row, at) => h("tr", { role: "row", tabindex: at ? -1 : 0, "aria-selected": "false", onclick: () => choose(row.run),
    onkeydown: (e) => {
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[e.key];
      if (e.key === "Enter" || e.key === " ") choose(row.run);
      else if (rows[to]) {
        rows.forEach((tr, i) => { tr.tabIndex = i === to ? 0 : -1; });
        rows[to].focus();
      } else return;
      e.preventDefault();
    } },
  h("th", { scope: "row", role: "rowheader", class: "dkv-number" }, String(row.run)),
  ...(row.error
    ? [...row.cells.slice(0, 2).map((text) => h("td", { role: "gridcell" }, text)),
      h("td", { role: "gridcell", colspan: page.heads.length - 2, class: "dkv-extra dkv-wrap" }, row.error)]
    : row.cells.map((text, i) => h("td", { role: "gridcell", class: i > 1 && i < page.heads.length - 1 ? "dkv-number" : "" }, text)))));
  const heads = ["run", ...page.heads].map((name, i) => h("th", { scope: "col", role: "columnheader",
    class: i === 0 || (i > 2 && i < page.heads.length) ? "dkv-number" : "" }, name));
  const table = h("table", { role: "grid", "aria-label": "runs" }, h("thead", {}, h("tr", { role: "row" }, ...heads)), h("tbody", {}, ...rows));
  const mark = (run) => rows.forEach((tr, i) => tr.setAttribute("aria-selected", page.rows[i].run === run));
  return { table, mark };
}

function runsBox(model, scope) {
  const box = h("div", { class: "dkv-runs" });
  const keys = h("p", { class: "dkv-keys" }, "In the plot and in the table: arrows move, Enter looks at a run.");
  let marks = [];
  const choose = (run) => {
    model.set("selection", model.get("selection") === run ? null : run);
    model.save_changes();
  };
  const mark = () => marks.forEach((one) => one(model.get("selection")));
  const draw = () => {
    const page = model.get("_runs");
    const active = box.getRootNode().activeElement;
    const within = active && box.contains(active) ? (active.closest("svg") ? "svg [role=option]" : "tbody tr") : null;
    const at = within ? [...box.querySelectorAll(within)].indexOf(active) : -1;
    box.replaceChildren();
    marks = [];
    keys.hidden = !page.rows?.length;
    if (!page.rows?.length) return;
    const plot = plotOf(page, model.get("selection"), choose);
    const { table, mark: tableMark } = runsTable(page, choose);
    if (plot.svg) box.append(plot.svg);
    box.append(h("div", { class: "dkv-scroll dkv-low" }, table));
    marks = [plot.mark, tableMark];
    mark();
    if (at >= 0) box.querySelectorAll(within)[at]?.focus();
  };
  scope.on("change:_runs", draw);
  scope.on("change:selection", mark);
  draw();
  return [box, keys, toldBox(model, scope)];
}

/** The run that is looked at: its config, and its worst queries. */
function toldBox(model, scope) {
  const box = h("section", { "aria-label": "Run", class: "dkv-told" });
  const show = () => {
    const told = model.get("_told");
    box.hidden = told.run === undefined;
    if (box.hidden) return box.replaceChildren();
    const worst = h("table", { role: "table", "aria-label": "worst queries" },
      h("thead", {}, h("tr", {}, ...told.heads.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...told.rows.map((row) => h("tr", {}, ...row.map((text) => h("td", {}, h("div", { class: "dkv-cell", title: text }, text)))))));
    box.replaceChildren(h("h4", {}, `Run ${told.run}: ${told.name}`),
      ...(told.error ? [h("pre", { class: "dkv-problem" }, told.error)] : [copied(told.config, "Config"),
        h("h4", {}, "Its worst queries"), h("div", { class: "dkv-scroll dkv-low" }, worst)]));
  };
  scope.on("change:_told", show);
  show();
  return box;
}

export default {
  render: shown("evaluator", "Evaluator", (model, scope) => [
    ...gridBox(model, scope), ...statusBox(model, scope, ""), ...runsBox(model, scope), codeBox(model, scope),
  ]),
};
