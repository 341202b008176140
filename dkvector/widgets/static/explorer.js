// Explorer: ask by text, row or vector; look at the rows; do something to them.

function tuningBox(model, scope) {
  const { knobs } = model.get("_choices");
  const controls = knobs.map((name) => {
    const flag = name === "exact";
    const control = h("input", flag ? { type: "checkbox" } : { type: "number", min: "1", placeholder: "auto" });
    const show = () => {
      const value = model.get("tuning")[name];
      if (flag) control.checked = value === true;
      else if (control.getRootNode().activeElement !== control) control.value = value ?? "";
    };
    control.addEventListener("change", () => {
      const { [name]: _, ...tuning } = model.get("tuning");
      const value = flag ? control.checked || undefined : whole(control);
      model.set("tuning", value === undefined ? tuning : { ...tuning, [name]: value });
      model.save_changes();
    });
    scope.on("change:tuning", show);
    show();
    return labelled(name, control);
  });
  return h("details", { class: "dkv-tuning", open: Object.keys(model.get("tuning")).length > 0, hidden: !knobs.length },
    h("summary", {}, "Tuning"), h("div", { class: "dkv-line" }, ...controls));
}

function askBox(model, scope) {
  const offered = model.get("_choices");
  const runs = select([["", "nothing"], ...offered.runs]);
  const more = [filterBox(model, scope), labelled("Compare with", tie(model, scope, runs, "compare"))];
  if (offered.metrics.length) more.push(labelled("Metric", tie(model, scope, select(offered.metrics), "metric")));
  if (offered.fields.length) {
    more.push(labelled("Vectors", tie(model, scope, select([["", ""], ...offered.fields]), "field")));
  }
  return askForm(model, scope, h("div", { class: "dkv-line" }, ...queryBox(model, scope, "Query")),
    h("div", { class: "dkv-line" }, ...more), tuningBox(model, scope));
}

/** Rows that the query is moved away from; a press takes one back. */
function lessBox(model, scope) {
  const box = h("div", { class: "dkv-chips", role: "group", "aria-label": "Less like" });
  const show = () => {
    const chips = model.get("_less_shown").map((label, at) => h("button", {
      type: "button", "aria-label": `no longer less like ${label}`,
      onclick: () => model.send({ do: "keep", at }) }, `less like ${label} ✕`));
    box.replaceChildren(...chips);
  };
  scope.on("change:_less_shown", show);
  show();
  return box;
}

const ACTIONS = [
  ["more", "≈", "more like", "m"], ["less", "≉", "less like", "l"],
  ["right", "✓", "right:", "+"], ["wrong", "✗", "wrong:", "-"],
];

function rowOf(row, at, page, { act, toggle, ours }) {
  const id = unique("row");
  const expand = h("button", { type: "button", tabindex: "-1", class: "dkv-open", "aria-expanded": "false",
    "aria-label": `all of ${row.label}` }, "▸");
  const score = h("td", { role: "gridcell", class: "dkv-score" },
    h("span", { class: "dkv-bar", "aria-hidden": "true", style: `--dkv-share:${row.bar}` }), h("span", {}, row.score));
  if (row.distance) score.title = `distance ${row.distance}`;
  const label = h("th", { scope: "row", role: "rowheader", title: row.label }, row.label);
  if (row.mark) label.append(" ", h("span", { class: `dkv-mark dkv-${row.mark}` }, row.mark));
  const cells = row.cells.map((text, i) => h("td", { role: "gridcell", class: page.columns[i].numeric ? "dkv-number" : "" },
    h("div", { class: "dkv-cell" }, text)));
  const buttons = !ours ? [] : ACTIONS.map(([what, sign, words]) => h("button", {
    type: "button", tabindex: "-1", title: `${words} ${row.label}`, "aria-label": `${words} ${row.label}`,
    "aria-pressed": what === "right" ? row.judged === true : what === "wrong" ? row.judged === false : null,
    onclick: (e) => { e.stopPropagation(); act(what, at, row.label); } }, sign));
  const tr = h("tr", { role: "row", id, class: row.mark ? `dkv-is-${row.mark}` : "", tabindex: "-1", "aria-rowindex": at + 2,
    "aria-selected": ours ? "false" : null, onclick: () => toggle(at) },
    h("td", { role: "gridcell" }, expand), h("td", { role: "gridcell", class: "dkv-number" }, String(row.rank)), label, score,
    ...cells, ...(ours ? [h("td", { role: "gridcell", class: "dkv-actions" }, ...buttons)] : []));
  const list = h("dl", {}, ...page.columns.flatMap(({ name }, i) => [h("dt", {}, name), h("dd", {}, row.cells[i])]));
  if (row.distance) list.prepend(h("dt", {}, "distance"), h("dd", {}, row.distance));
  const detail = h("tr", { class: "dkv-detail", role: "row", hidden: true },
    h("td", { role: "gridcell", colspan: tr.children.length }, list));
  const open = (yes) => {
    detail.hidden = !yes;
    expand.textContent = yes ? "▾" : "▸";
    expand.setAttribute("aria-expanded", yes);
  };
  expand.addEventListener("click", (e) => { e.stopPropagation(); open(detail.hidden); });
  return { tr, detail, open };
}

function tableOf(page, title, tools) {
  const rows = page.rows.map((row, at) => rowOf(row, at, page, tools));
  const number = "dkv-number";
  const heads = [["", ""], ["rank", number], ["label", ""], ["score", number],
    ...page.columns.map((one) => [one.name, one.numeric ? number : ""]), ...(tools.ours ? [["actions", "dkv-actions"]] : [])];
  const table = h("table", { role: "grid", "aria-label": title, "aria-rowcount": page.total + 1,
    "aria-multiselectable": tools.ours ? "true" : null, "aria-describedby": tools.keys },
    h("thead", {}, h("tr", { role: "row", "aria-rowindex": 1 }, ...heads.map(([name, kind]) => h("th", {
      scope: "col", role: "columnheader", class: kind }, name || h("span", { class: "dkv-hidden" }, "open"))))),
    h("tbody", {}, ...rows.flatMap(({ tr, detail }) => [tr, detail])));
  // one row is in the tab order, and its buttons with it
  const rove = (to, focus) => {
    rows.forEach(({ tr }, i) => {
      tr.tabIndex = i === to ? 0 : -1;
      tr.querySelectorAll("button").forEach((button) => { button.tabIndex = i === to ? 0 : -1; });
    });
    if (focus) rows[to].tr.focus();
  };
  table.addEventListener("focusin", (e) => {
    const at = rows.findIndex(({ tr }) => tr.contains(e.target));
    if (at >= 0) rove(at, false);
  });
  table.addEventListener("keydown", (e) => {
    const at = rows.findIndex(({ tr }) => tr === e.target);
    if (at < 0 || e.ctrlKey || e.metaKey || e.altKey) return;
    const moves = { ArrowDown: Math.min(at + 1, rows.length - 1), ArrowUp: Math.max(at - 1, 0), Home: 0, End: rows.length - 1 };
    const action = tools.ours && ACTIONS.find(([, , , key]) => key === e.key);
    if (e.key in moves) rove(moves[e.key], true);
    else if (e.key === "Enter") rows[at].open(rows[at].detail.hidden);
    else if (e.key === "ArrowRight" || e.key === "ArrowLeft") rows[at].open(e.key === "ArrowRight");
    else if (e.key === " ") tools.toggle(at);
    else if (action) tools.act(action[0], at, page.rows[at].label);
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  if (rows.length) rove(0, false);
  return { table, rows, focus: (at) => rows.length && rove(Math.min(at, rows.length - 1), true) };
}

function results(model, scope) {
  const box = h("div", { class: "dkv-results" });
  const keys = h("p", { id: unique("keys"), class: "dkv-keys" },
    "In the table: ↑ ↓ move, Enter opens a row, Space selects, m more like it, l less like it, + right, - wrong.");
  const clear = h("button", { type: "button", onclick: () => model.send({ do: "clear" }) }, "");
  let drawn = null;
  const act = (what, at, label) => model.send({ do: what, at, label });
  // by its label too: the kernel may have found other rows by now
  const toggle = (at) => act("select", at, model.get("_page").rows[at].label);
  const mark = () => {
    const chosen = new Set(model.get("_selected"));
    drawn?.rows.forEach(({ tr }, at) => tr.setAttribute("aria-selected", chosen.has(at)));
    clear.textContent = `clear selection (${model.get("_chosen")})`;
    clear.hidden = !model.get("_chosen");
  };
  const none = (title) => h("p", { class: "dkv-none" }, title);
  const draw = () => {
    const page = model.get("_page"), beside = model.get("_beside");
    const active = box.getRootNode().activeElement;
    const focused = drawn ? drawn.rows.findIndex(({ tr }) => tr.contains(active)) : -1;
    const action = focused >= 0 ? [...drawn.rows[focused].tr.querySelectorAll("button")].indexOf(active) : -1;
    box.replaceChildren();
    drawn = null;
    keys.hidden = !page.rows?.length;
    const add = (shown, title, ours, told = title) => {
      const made = shown.rows.length ? tableOf(shown, title, { act, toggle, ours, keys: keys.id }) : null;
      const note = shown.total > shown.rows.length ? none(`the first ${shown.rows.length} of ${shown.total} rows; all are in .value`) : "";
      box.append(h("section", { class: "dkv-side", "aria-label": title },
        ...(beside.rows ? [h("h4", {}, told)] : []), h("div", { class: "dkv-scroll" }, made ? made.table : none("no rows")), note));
      return made;
    };
    if (page.rows) drawn = add(page, beside.rows ? "this search" : "results", true);
    if (beside.rows) add(beside, "beside", false, `beside: ${new Map(model.get("_choices").runs).get(model.get("compare")) ?? ""}`);
    mark();
    if (focused >= 0 && drawn) {
      drawn.focus(focused);
      drawn.rows[Math.min(focused, drawn.rows.length - 1)].tr.querySelectorAll("button")[action]?.focus();
    }
  };
  scope.on("change:_page", draw);
  scope.on("change:_beside", draw);
  scope.on("change:_selected", mark);
  scope.on("change:_chosen", mark);
  draw();
  return [box, clear, keys];
}

export default {
  render: shown("explorer", "Explorer", (model, scope) => [
    askBox(model, scope), lessBox(model, scope), ...statusBox(model, scope, "searching …"), ...results(model, scope), codeBox(model, scope),
  ]),
};
