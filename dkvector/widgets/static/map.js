// Map: a frame round jupyter-scatter, which draws the points. What comes from the rows is shown as text, never as HTML.

const MANY = 100_000; // points, above which only some are drawn while the map moves
const MOVING = 60_000;
const SETTLED = 200; // ms without a movement before all are drawn again
const NEAR = 24; // pixels within which the cross takes a point
const STEP = 0.1; // of the map, that an arrow key moves
const ZOOM = 1.25;
const MARGIN = 0.94; // of the stage, that a whole map fills
const START = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

/** Put jupyter-scatter's view into a box, and wait until it can be spoken to. */
async function drawn(model, scope, box) {
  if (!scope.host) throw new Error("this notebook's front end of anywidget shows no widget inside another: update anywidget to 0.11 or newer and load the page again, or display map.scatter itself");
  const named = model.get("scatter"), el = h("div", {});
  const [child, widget] = await Promise.all([scope.host.getModel(named), scope.host.getWidget(named)]);
  box.append(el);
  await widget.render({ el, signal: scope.signal });
  for (let waited = 0; waited < 600 && !scope.signal.aborted; waited += 1) {
    const api = [...el.querySelectorAll("div")].find((one) => one.api)?.api;
    if (api?.get("points")?.length) return { child, api };
    await new Promise(requestAnimationFrame);
  }
  throw new Error("the map could not be drawn: this browser may lack WebGL");
}

const bytesOf = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);

/** The rows that are selected, as jupyter-scatter keeps them. */
function chosenOf(child) {
  const kept = child.get("selection");
  if (!kept?.view) return [];
  return Array.from(new { int32: Int32Array, uint32: Uint32Array, float32: Float32Array }[kept.dtype](bytesOf(kept.view)));
}

/** The points, of which each can be found on the page. */
function pointsOf(child, api) {
  const { view, shape } = child.get("points");
  const width = shape[1], xy = new Float32Array(bytesOf(view));
  const screen = (at) => [api.get("xScale")(xy[at * width]), api.get("yScale")(xy[at * width + 1])];
  let seen = null;
  const shown = (at) => !seen || seen[at] === 1;
  const keep = (places) => {
    seen = places && new Uint8Array(shape[0]);
    places?.forEach((at) => { seen[at] = 1; });
  };
  const nearest = ([x, y]) => {
    const sx = api.get("xScale"), sy = api.get("yScale");
    const [x0, y0] = [sx.invert(x), sy.invert(y)], unit = Math.abs(sx.invert(x + 1) - x0);
    let best = -1, least = (NEAR * unit) ** 2;
    for (let at = 0; at < shape[0]; at += 1) {
      const far = (xy[at * width] - x0) ** 2 + (xy[at * width + 1] - y0) ** 2;
      if (far < least && shown(at)) [best, least] = [at, far];
    }
    return best;
  };
  const half = [0, 0];
  for (let at = 0; at < shape[0]; at += 1) [0, 1].forEach((i) => { half[i] = Math.max(half[i], Math.abs(xy[at * width + i])); });
  return { count: shape[0], screen, nearest, half, shown, keep };
}

/** Draw the rows that satisfy the filter, and fewer of them while the map moves, where there are many. */
function filtered(model, points, child, api, scope) {
  let kept = null, some = null, timer = null, few = false;
  const draw = (places) => {
    if (places) api.filter(places, { preventEvent: true });
    else api.unfilter({ preventEvent: true });
    const chosen = chosenOf(child); // of which hidden ones are shown again with their rows
    if (chosen.length) api.select(chosen, { preventEvent: true });
  };
  const settle = () => {
    clearTimeout(timer);
    if (few) draw(kept);
    few = false;
  };
  const follow = () => {
    const bytes = model.get("_kept"), before = kept;
    kept = bytes ? Array.from(new Uint32Array(bytesOf(bytes))) : null;
    points.keep(kept);
    const count = kept ? kept.length : points.count, every = count / MOVING;
    some = count <= MANY ? null : Array.from({ length: MOVING }, (_, i) => (kept ? kept[Math.floor(i * every)] : Math.floor(i * every)));
    few ||= Boolean(kept || before);
    settle();
  };
  scope.on("change:_kept", follow);
  scope.stop.push(() => clearTimeout(timer));
  follow();
  return {
    move() {
      if (!some) return;
      if (!few) api.filter(some, { preventEvent: true });
      few = true;
      clearTimeout(timer);
      timer = setTimeout(settle, SETTLED);
    },
  };
}

/** Colours of the notebook, and of what changes with them. */
function themed(root, stage, api, redraw, scope) {
  const rgb = (colour) => (colour.match(/[\d.]+/g) || [0, 0, 0]).slice(0, 3).map((one) => one / 255);
  let last = "";
  const apply = () => {
    const style = getComputedStyle(root), ground = rgb(style.backgroundColor), ink = rgb(style.color);
    if (last === `${ground},${ink}`) return;
    last = `${ground},${ink}`;
    stage.querySelectorAll("div").forEach((one) => one.api && (one.style.backgroundColor = style.backgroundColor));
    api.set({ backgroundColor: [...ground, 1], pointColorActive: [...ink, 1], pointColorHover: [...ink, 1], lassoColor: [...ink, 1] });
    redraw();
  };
  const watcher = new MutationObserver(() => requestAnimationFrame(apply));
  for (const node of [document.body, document.documentElement]) {
    watcher.observe(node, { attributes: true, attributeFilter: ["class", "data-jp-theme-name", "data-jp-theme-light", "data-vscode-theme-kind"] });
  }
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", apply);
  const timer = setInterval(apply, 1000); // a theme's style sheet comes later than its name
  scope.stop.push(() => { watcher.disconnect(); dark.removeEventListener("change", apply); clearInterval(timer); });
  apply();
}

/** Move by keys, relative to what is seen. */
function camera(api, points, stage) {
  const turned = (change) => {
    const seen = Float32Array.from(api.get("cameraView"));
    change(seen);
    api.view(seen);
  };
  return {
    pan: (dx, dy) => turned((v) => { v[12] += dx; v[13] += dy; }),
    zoom: (by) => turned((v) => { for (const i of [0, 1, 4, 5, 12, 13]) v[i] *= by; }),
    fit() {
      const { width, height } = stage.getBoundingClientRect(), [x, y] = points.half;
      const scale = MARGIN * Math.min(width / height / (x || 1), 1 / (y || 1));
      api.view(Float32Array.from(START, (one, i) => (i === 0 || i === 5 ? scale : one)));
    },
  };
}

function keyboard(stage, api, see, points, over, act) {
  const middle = () => { const { width, height } = stage.getBoundingClientRect(); return [width / 2, height / 2]; };
  let pointed = -1;
  const point = () => {
    const at = points.nearest(middle());
    if (at === pointed) return;
    pointed = at;
    api.hover(at < 0 ? undefined : at);
  };
  const keys = {
    ArrowLeft: () => see.pan(2 * STEP, 0), ArrowRight: () => see.pan(-2 * STEP, 0),
    ArrowUp: () => see.pan(0, -2 * STEP), ArrowDown: () => see.pan(0, 2 * STEP),
    "+": () => see.zoom(ZOOM), "=": () => see.zoom(ZOOM), "-": () => see.zoom(1 / ZOOM), 0: () => see.fit(),
    Enter: () => pointed >= 0 && act.toggle(pointed), " ": () => pointed >= 0 && act.toggle(pointed),
    v: () => act.inView(), z: () => act.zoomTo(), Escape: () => act.clear(),
  };
  stage.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || !(e.key in keys)) return;
    e.preventDefault();
    e.stopPropagation();
    over.cross(true);
    keys[e.key]();
    requestAnimationFrame(point);
  });
  stage.addEventListener("focus", () => stage.matches(":focus-visible") && (over.cross(true), point()));
  const leave = () => { over.cross(false); pointed = -1; };
  stage.addEventListener("blur", leave);
  stage.addEventListener("pointerdown", leave);
}

/** Buttons, and the choice of a column for the colours. */
function tools(model, scope, api, see, act) {
  const colour = tie(model, scope, select([["", "one colour"], ...model.get("_columns").map((name) => [name, name])]), "color");
  colour.id = unique("colour");
  const modes = { panZoom: h("button", { type: "button" }, "Move"), lasso: h("button", { type: "button", title: "Draw round rows to select them" }, "Lasso") };
  const mode = (name) => {
    api.set({ mouseMode: name });
    Object.entries(modes).forEach(([one, button]) => button.setAttribute("aria-pressed", one === name));
  };
  Object.entries(modes).forEach(([name, button]) => button.addEventListener("click", () => mode(name)));
  mode("panZoom");
  const button = (text, title, onclick) => h("button", { type: "button", title, onclick }, text);
  const clear = button("", "Select nothing", act.clear);
  const chosen = () => { clear.textContent = `Clear selection (${model.get("_chosen")})`; clear.hidden = !model.get("_chosen"); };
  scope.on("change:_chosen", chosen);
  chosen();
  return [h("label", { for: colour.id }, "Colour"), colour, modes.panZoom, modes.lasso, button("+", "Zoom in", () => see.zoom(ZOOM)), button("−", "Zoom out", () => see.zoom(1 / ZOOM)),
    button("Fit", "Show the whole map", see.fit), button("Zoom to rows", "Zoom to the highlighted or selected rows", act.zoomTo),
    button("Select view", "Select the rows in view", act.inView), clear];
}

/** What is asked for, where the rows are there to be asked, and the filter. */
function neighbours(model, scope) {
  const asked = model.get("_choices").ways.length ? queryBox(model, scope, "Neighbours of") : [];
  return askForm(model, scope, h("div", { class: "dkv-line" }, ...asked, filterBox(model, scope)));
}

/** Bring the map to life once jupyter-scatter has drawn it. */
async function begin(model, scope, stage, bar, beside) {
  const { child, api } = await drawn(model, scope, stage);
  const root = stage.closest(".dkv-widget"), points = pointsOf(child, api), see = camera(api, points, stage);
  const selected = () => api.get("selectedPoints");
  const canvas = h("canvas", { class: "dkv-over", "aria-hidden": "true" });
  const over = overlay(model, canvas, points, root, scope), hint = tip(model, stage, points, scope);
  const act = {
    toggle: (at) => api.select(selected().includes(at) ? selected().filter((one) => one !== at) : [...selected(), at]),
    inView: () => api.select(api.get("pointsInView")),
    clear: () => api.deselect(),
    zoomTo() {
      const wanted = selected().length ? selected() : model.get("_rings").map(([at]) => at);
      if (wanted.length) api.zoomToPoints(wanted, { padding: 0.4, transition: false });
    },
  };
  stage.append(canvas, hint.box);
  bar.replaceChildren(...tools(model, scope, api, see, act));
  beside.replaceWith(legend(model, scope));
  const moving = filtered(model, points, child, api, scope);
  scope.on("change:_rings", over.later);
  scope.on("change:_edges", over.later);
  api.subscribe("view", () => { over.later(); hint.hide(); moving.move(); });
  api.subscribe("pointover", hint.again);
  api.subscribe("pointout", hint.hide);
  const sized = new ResizeObserver(over.later);
  sized.observe(stage);
  scope.stop.push(() => sized.disconnect());
  themed(root, stage, api, over.later, scope);
  keyboard(stage, api, see, points, over, act);
  see.fit();
  over.later();
  root.dataset.ready = "true";
}

export default {
  render: shown("map", "Map", (model, scope) => {
    const help = h("p", { class: "dkv-keys", id: unique("keys") },
      "With the map in focus: arrows move, + − zoom, 0 shows all, Enter selects the row at the cross, v those in view, z zooms to them, Esc none.");
    const stage = h("div", { class: "dkv-stage", tabindex: "0", role: "application", "aria-label": model.get("_name"), "aria-describedby": help.id });
    const bar = h("div", { class: "dkv-line dkv-tools", role: "toolbar", "aria-label": "Map tools" }), beside = h("div", {});
    begin(model, scope, stage, bar, beside).catch((error) => stage.append(h("p", { role: "alert" }, error.message)));
    return [neighbours(model, scope), bar, h("div", { class: "dkv-body" }, stage, beside), ...statusBox(model, scope, "asking …"), codeBox(model, scope), help];
  }),
};
