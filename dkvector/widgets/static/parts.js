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

/** A list of what may be written next, under an input: arrows and Enter, or the mouse. */
function completion(input, title, { ask, put }) {
  const list = h("ul", { role: "listbox", id: unique("list"), "aria-label": title, class: "dkv-list", hidden: true });
  const marks = { role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id };
  Object.entries(marks).forEach(([name, value]) => input.setAttribute(name, value));
  if (list.showPopover) list.popover = "manual"; // above everything: an output cuts off what stands out of it
  let at = -1;
  const place = () => {
    const box = input.getBoundingClientRect();
    const above = box.bottom + list.offsetHeight > window.innerHeight && box.top > list.offsetHeight;
    Object.assign(list.style, { position: "fixed", left: `${box.left}px`, top: `${above ? box.top - list.offsetHeight : box.bottom}px` });
  };
  const raise = (up) => {
    list.hidden = !up;
    if (!list.showPopover) return;
    list.togglePopover(up);
    if (up) place();
    window[up ? "addEventListener" : "removeEventListener"]("scroll", place, true);
  };
  const close = () => {
    if (!list.hidden) raise(false);
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const take = (name) => {
    put(name);
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
  const show = (offers) => {
    if (!offers.length || input.getRootNode().activeElement !== input) return close();
    list.replaceChildren(...offers.slice(0, 12).map(([name, kind]) => h(
      "li", { role: "option", id: unique("offer"), "aria-selected": "false",
        onmousedown: (e) => { e.preventDefault(); take(name); } }, h("span", {}, name), h("small", {}, kind))));
    [...list.children].forEach((one, i) => { one.dataset.name = offers[i][0]; });
    raise(true);
    at = -1;
    input.setAttribute("aria-expanded", "true");
  };
  input.addEventListener("input", () => ask(false));
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (e) => {
    if (list.hidden) {
      if (e.key === "ArrowDown" || (e.key === " " && e.ctrlKey)) { e.preventDefault(); ask(true); if (!list.hidden) point(0); }
      return;
    }
    if (e.key === "ArrowDown") point(at + 1);
    else if (e.key === "ArrowUp") point(at < 0 ? -1 : at - 1);
    else if (e.key === "Escape") close();
    else if ((e.key === "Enter" || e.key === "Tab") && at >= 0) take(list.children[at].dataset.name);
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  return { list, show, close };
}

/** The filter's box: it completes the name of a column where the caret stands. */
function filterBox(model, scope) {
  const columns = model.get("_choices").columns;
  const problem = h("pre", { class: "dkv-problem", id: unique("problem"), role: "alert" });
  const [name, kind] = columns[0] ?? ["", ""];
  const input = h("input", {
    type: "text", autocomplete: "off", spellcheck: "false", "aria-describedby": problem.id,
    placeholder: name && `such as ${name} ${/^(u?int|float|double|decimal)/i.test(kind) ? "> 3" : "== 'a'"}`,
  });
  const word = () => /`?[^\s()'"=<>!&|~,[\]]*$/.exec(input.value.slice(0, input.selectionStart))[0];
  const inText = () => (input.value.slice(0, input.selectionStart).match(/['"]/g) || []).length % 2 === 1;
  const offers = completion(input, "Columns", {
    ask(all) {
      const begun = word().replace(/^`/, "").toLowerCase();
      const near = (begun || all) && !inText() ? columns.filter(([one]) => one.toLowerCase().includes(begun)) : [];
      near.sort(([a], [b]) => b.toLowerCase().startsWith(begun) - a.toLowerCase().startsWith(begun));
      offers.show(near.length === 1 && near[0][0].toLowerCase() === begun ? [] : near);
    },
    put(one) {
      const end = input.selectionStart;
      const written = /^[A-Za-z_]\w*$/.test(one) ? one : "`" + one.replaceAll("`", "``") + "`";
      input.setRangeText(written + " ", end - word().length, end, "end");
    },
  });
  const show = () => {
    problem.textContent = model.get("where_error");
    input.setAttribute("aria-invalid", problem.textContent !== "");
  };
  scope.on("change:where_error", show);
  show();
  tie(model, scope, input, "where", { typed: true });
  const field = labelled("Where", input, "dkv-wide dkv-where");
  field.append(offers.list, problem);
  return field;
}

/** A query, how it is read, and k; rows are completed as columns are: which ones there are, the kernel knows. */
function queryBox(model, scope, title) {
  const query = h("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const by = tie(model, scope, select(model.get("_choices").ways), "by");
  const hint = () => {
    const hints = { text: "what it means", words: "what it means and says", row: "the label of a row", vector: "[0.1, 0.2, …]" };
    query.placeholder = hints[model.get("by")];
  };
  scope.on("change:by", hint);
  hint();
  tie(model, scope, query, "query", { typed: true });
  const rows = completion(query, "Rows", {
    ask(all) { if (model.get("by") === "row" && (query.value || all)) model.send({ do: "complete", label: query.value }); },
    put(name) { query.value = name; },
  });
  scope.on("change:_offered", () => {
    const { begun, labels } = model.get("_offered");
    if (begun === query.value && model.get("by") === "row") rows.show(labels.filter((one) => one !== begun).map((one) => [one, ""]));
  });
  const asked = labelled(title, query, "dkv-wide");
  asked.append(rows.list);
  const k = tie(model, scope, h("input", { type: "number", min: "1" }), "k", { read: whole, typed: true });
  return [labelled("Search by", by), asked, labelled("k", k, "dkv-small")];
}

/** A form, in which Enter sends what is typed, or asks the same again. */
function askForm(model, scope, ...lines) {
  return h("form", { role: "search", onsubmit: (e) => {
    e.preventDefault();
    if (!scope.flush.map((flush) => flush()).some(Boolean)) model.send({ do: "ask" });
  } }, ...lines);
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

/** Copy what is shown, and say how that went. */
async function copyOf(shown) {
  try {
    await navigator.clipboard.writeText(shown.textContent);
    return "copied";
  } catch { // a page that came by plain http from elsewhere has no clipboard: the older way copies what is selected
    window.getSelection().selectAllChildren(shown);
    return document.execCommand("copy") ? "copied" : "selected";
  }
}

/** A line of code, and a button that copies it. */
function copied(text, name) {
  const code = h("code", { role: "group", "aria-label": name }, text);
  const copy = h("button", { type: "button", "aria-label": `copy ${name.toLowerCase()}`, onclick: async () => {
    copy.textContent = await copyOf(code);
    setTimeout(() => { copy.textContent = "copy"; }, 1500);
  } }, "copy");
  return h("div", { class: "dkv-code" }, code, copy);
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
  return ({ model, el, host }) => {
    const heard = [], ending = new AbortController();
    const scope = {
      flush: [], stop: [() => ending.abort()], signal: ending.signal, host, // the host shows one widget inside another
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
    scope.on("change:_noticed", () => {
      model.set("_echoed", model.get("_noticed"));
      model.save_changes();
    });
    return () => {
      heard.forEach(([event, what]) => model.off(event, what));
      scope.stop.forEach((stop) => stop());
    };
  };
}
