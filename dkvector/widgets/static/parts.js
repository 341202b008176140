// What all widgets share. Everything that comes from Python is shown as text, never as HTML.
// A widget's module is this file and its own, one after the other.

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
    placeholder: columns.length ? `such as ${columns[0][0]} ${/^(u?int|float|double|decimal)/i.test(columns[0][1]) ? "> 3" : "== 'a'"}` : "",
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

/** What goes on, in the given word or that of the model, and what went wrong. */
function statusBox(model, scope, working) {
  const status = h("p", { role: "status", class: "dkv-status" });
  const error = h("pre", { role: "alert", class: "dkv-problem dkv-error" });
  const show = () => {
    status.textContent = (model.get("busy") && working) || model.get("status");
    error.textContent = model.get("error");
  };
  ["busy", "status", "error"].forEach((name) => scope.on(`change:${name}`, show));
  show();
  return [error, status];
}

/** A line of code, and a button that copies it. */
function copied(text, name) {
  const copy = h("button", { type: "button", "aria-label": `copy ${name.toLowerCase()}`, onclick: async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "copied";
    setTimeout(() => { copy.textContent = "copy"; }, 1500);
  } }, "copy");
  return h("div", { class: "dkv-code" }, h("code", { role: "group", "aria-label": name }, text), copy);
}

/** The line of Python that does the same. */
function codeBox(model, scope) {
  const box = h("div", {});
  const show = () => box.replaceChildren(...(model.get("code") ? [copied(model.get("code"), "Code")] : []));
  scope.on("change:code", show);
  show();
  return box;
}

/** Give a widget's `render`: its parts in a region of its own, tied to the model for as long as it is shown. */
function shown(name, title, parts) {
  return ({ model, el }) => {
    const heard = [];
    const scope = {
      flush: [], stop: [],
      on(event, what) {
        model.on(event, what);
        heard.push([event, what]);
      },
    };
    // a notebook's own one-letter shortcuts must not fire while a row or a button has the focus
    const root = h("div", { class: `dkv-widget dkv-${name}`, role: "region", "aria-label": title, "data-lm-suppress-shortcuts": "true" },
      ...parts(model, scope));
    root.addEventListener("keydown", (e) => e.key !== "Escape" && e.stopPropagation());
    el.replaceChildren(root);
    return () => {
      heard.forEach(([event, what]) => model.off(event, what));
      scope.stop.forEach((stop) => stop());
    };
  };
}
