// Explorer: everything that comes from the store is shown as text, never as HTML.

const PAUSE = 250; // ms without a key before what is typed is asked

/** Make an element; strings among the children become text. */
function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value === "boolean") node[name] = value;
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

let count = 0;
const unique = (name) => `dkv-${name}-${++count}`;

function labelled(text, control, className = "") {
  control.id ||= unique("control");
  return h("div", { class: `dkv-field ${className}` }, h("label", { for: control.id }, text), control);
}

function debounced(work) {
  let timer = null;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(now, PAUSE);
  };
  const now = () => {
    clearTimeout(timer);
    timer = null;
    work();
  };
  return { later, now, flush: () => timer !== null && (now(), true), pending: () => timer !== null, stop: () => clearTimeout(timer) };
}

/** Tie a control to a trait, both ways; what is typed and not yet sent wins. */
function tie(model, scope, control, trait, { read = (c) => c.value, write = (v) => v, typed = false } = {}) {
  const save = () => {
    const value = read(control);
    if (value === undefined || JSON.stringify(value) === JSON.stringify(model.get(trait))) return;
    model.set(trait, value);
    model.save_changes();
  };
  const pause = debounced(save);
  const show = () => {
    if (JSON.stringify(read(control)) !== JSON.stringify(model.get(trait))) control.value = write(model.get(trait));
  };
  control.addEventListener(typed ? "input" : "change", typed ? pause.later : save);
  if (typed) control.addEventListener("change", pause.flush);
  scope.on(`change:${trait}`, () => pause.pending() || show());
  scope.flush.push(pause.flush);
  scope.stop.push(pause.stop);
  control.value = write(model.get(trait));
  return control;
}

function select(options) {
  return h("select", {}, ...options.map(([value, text]) => h("option", { value }, text)));
}

const whole = (control) => (/^\d+$/.test(control.value) && +control.value >= 1 ? +control.value : undefined);

/** The filter's box: a combobox that completes the name of a column where the caret stands. */
function filterBox(model, scope) {
  const columns = model.get("_choices").columns;
  const list = h("ul", { role: "listbox", id: unique("columns"), "aria-label": "Columns", class: "dkv-list", hidden: true });
  const problem = h("pre", { class: "dkv-problem", id: unique("problem"), role: "alert" });
  const input = h("input", {
    type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", "aria-autocomplete": "list",
    "aria-expanded": "false", "aria-controls": list.id, "aria-describedby": problem.id,
    placeholder: columns.length ? "such as " + columns[0][0] + " == 'a'" : "",
  });
  let at = -1;
  const word = () => /`?[^\s()'"=<>!&|~,[\]]*$/.exec(input.value.slice(0, input.selectionStart))[0];
  const close = () => {
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const inText = () => (input.value.slice(0, input.selectionStart).match(/['"]/g) || []).length % 2 === 1;
  const put = (name) => {
    const end = input.selectionStart;
    const start = end - word().length;
    const written = /^[A-Za-z_]\w*$/.test(name) ? name : "`" + name.replaceAll("`", "``") + "`";
    input.setRangeText(written + " ", start, end, "end");
    close();
    input.dispatchEvent(new Event("input"));
    close();
    input.focus();
  };
  const point = (to) => {
    at = (to + list.children.length) % list.children.length;
    [...list.children].forEach((one, i) => one.setAttribute("aria-selected", i === at));
    input.setAttribute("aria-activedescendant", list.children[at].id);
    list.children[at].scrollIntoView({ block: "nearest" });
  };
  const offer = (all) => {
    const begun = word().replace(/^`/, "").toLowerCase();
    const near = (begun || all) && !inText() ? columns.filter(([name]) => name.toLowerCase().includes(begun)) : [];
    near.sort(([a], [b]) => b.toLowerCase().startsWith(begun) - a.toLowerCase().startsWith(begun));
    if (!near.length || (near.length === 1 && near[0][0].toLowerCase() === begun)) return close();
    list.replaceChildren(...near.slice(0, 12).map(([name, type]) => h(
      "li", { role: "option", id: unique("column"), "aria-selected": "false",
        onmousedown: (e) => { e.preventDefault(); put(name); } },
      h("span", {}, name), h("small", {}, type))));
    [...list.children].forEach((one, i) => { one.dataset.name = near[i][0]; });
    list.hidden = false;
    at = -1;
    input.setAttribute("aria-expanded", "true");
  };
  input.addEventListener("input", () => offer(false));
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (e) => {
    if (list.hidden) {
      if (e.key === "ArrowDown" || (e.key === " " && e.ctrlKey)) { e.preventDefault(); offer(true); if (!list.hidden) point(0); }
      return;
    }
    if (e.key === "ArrowDown") point(at + 1);
    else if (e.key === "ArrowUp") point(at < 0 ? -1 : at - 1);
    else if (e.key === "Escape") close();
    else if ((e.key === "Enter" || e.key === "Tab") && at >= 0) put(list.children[at].dataset.name);
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  const show = () => {
    problem.textContent = model.get("where_error");
    input.setAttribute("aria-invalid", problem.textContent !== "");
  };
  scope.on("change:where_error", show);
  show();
  tie(model, scope, input, "where", { typed: true });
  const field = labelled("Where", input, "dkv-wide dkv-where");
  field.append(list, problem);
  return field;
}

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
  const query = h("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const by = tie(model, scope, select(offered.ways), "by");
  const hint = () => {
    const hints = { text: "what it means", words: "what it means and says", row: "the label of a row", vector: "[0.1, 0.2, …]" };
    query.placeholder = hints[model.get("by")];
  };
  scope.on("change:by", hint);
  hint();
  tie(model, scope, query, "query", { typed: true });
  const k = tie(model, scope, h("input", { type: "number", min: "1" }), "k", { read: whole, typed: true });
  const runs = select([["", "nothing"], ...offered.runs]);
  const line = [labelled("Search by", by), labelled("Query", query, "dkv-wide"), labelled("k", k, "dkv-small")];
  const more = [filterBox(model, scope), labelled("Compare with", tie(model, scope, runs, "compare"))];
  if (offered.metrics.length) more.push(labelled("Metric", tie(model, scope, select(offered.metrics), "metric")));
  if (offered.fields.length) {
    more.push(labelled("Vectors", tie(model, scope, select([["", ""], ...offered.fields]), "field")));
  }
  const form = h("form", { role: "search", onsubmit: (e) => {
    e.preventDefault();
    if (!scope.flush.map((flush) => flush()).some(Boolean)) model.send({ do: "ask" });
  } },
    h("div", { class: "dkv-line" }, ...line), h("div", { class: "dkv-line" }, ...more), tuningBox(model, scope));
  return form;
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
  const heads = [["", false], ["rank", true], ["label", false], ["score", true],
    ...page.columns.map((one) => [one.name, one.numeric]), ...(tools.ours ? [["actions", false]] : [])];
  const table = h("table", { role: "grid", "aria-label": title, "aria-rowcount": page.total + 1,
    "aria-multiselectable": tools.ours ? "true" : null, "aria-describedby": tools.keys },
    h("thead", {}, h("tr", { role: "row", "aria-rowindex": 1 }, ...heads.map(([name, numeric]) => h("th", {
      scope: "col", role: "columnheader", class: numeric ? "dkv-number" : "" }, name || h("span", { class: "dkv-hidden" }, "open"))))),
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
  const toggle = (at) => {
    const chosen = new Set(model.get("_selected"));
    if (!chosen.delete(at)) chosen.add(at);
    model.set("_selected", [...chosen].sort((a, b) => a - b));
    model.save_changes();
  };
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
    const add = (shown, title, ours) => {
      const made = shown.rows.length ? tableOf(shown, title, { act, toggle, ours, keys: keys.id }) : null;
      const note = shown.total > shown.rows.length ? none(`the first ${shown.rows.length} of ${shown.total} rows; all are in .value`) : "";
      box.append(h("section", { class: "dkv-side", "aria-label": title },
        ...(beside.rows ? [h("h4", {}, title)] : []), h("div", { class: "dkv-scroll" }, made ? made.table : none("no rows")), note));
      return made;
    };
    if (page.rows) drawn = add(page, beside.rows ? "this search" : "results", true);
    if (beside.rows) add(beside, "beside", false);
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

function statusBox(model, scope) {
  const status = h("p", { role: "status", class: "dkv-status" });
  const error = h("pre", { role: "alert", class: "dkv-problem dkv-error" });
  const show = () => {
    status.textContent = model.get("busy") ? "searching …" : model.get("status");
    error.textContent = model.get("error");
  };
  ["busy", "status", "error"].forEach((name) => scope.on(`change:${name}`, show));
  show();
  return [error, status];
}

function codeBox(model, scope) {
  const code = h("code", { "aria-label": "Code" });
  const copy = h("button", { type: "button", onclick: async () => {
    await navigator.clipboard.writeText(model.get("code"));
    copy.textContent = "copied";
    setTimeout(() => { copy.textContent = "copy"; }, 1500);
  } }, "copy");
  const box = h("div", { class: "dkv-code" }, code, copy);
  const show = () => {
    code.textContent = model.get("code");
    box.hidden = !model.get("code");
  };
  scope.on("change:code", show);
  show();
  return box;
}

function render({ model, el }) {
  const heard = [];
  const scope = {
    flush: [], stop: [],
    on(name, what) {
      model.on(name, what);
      heard.push([name, what]);
    },
  };
  // a notebook's own one-letter shortcuts must not fire while a row or a button has the focus
  const root = h("div", { class: "dkv-explorer", role: "region", "aria-label": "Explorer", "data-lm-suppress-shortcuts": "true" },
    askBox(model, scope), lessBox(model, scope), ...statusBox(model, scope), ...results(model, scope), codeBox(model, scope));
  root.addEventListener("keydown", (e) => e.key !== "Escape" && e.stopPropagation());
  el.replaceChildren(root);
  return () => {
    heard.forEach(([name, what]) => model.off(name, what));
    scope.stop.forEach((stop) => stop());
  };
}

export default { render };
