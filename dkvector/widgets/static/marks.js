// What lies over the map's points and beside them: edges, rings, the cross of the keyboard, a row's facts, the legend.

/** What lies over the points: missed edges, rings and names of highlighted rows, and the cross of the keyboard. */
function overlay(model, canvas, points, root, scope) {
  const pen = canvas.getContext("2d");
  let cross = false, queued = false, ended = false;
  scope.stop.push(() => { ended = true; });
  const draw = () => {
    queued = false;
    const { width, height } = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    if (!width) { // out of sight, for as long as a theme changes
      if (!ended) setTimeout(later, SETTLED);
      return;
    }
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(root), ink = style.color, ground = style.backgroundColor;
    drawEdges(pen, points, model.get("_edges"), ink);
    drawRings(pen, points, model.get("_rings"), ink, ground, style);
    if (cross) drawCross(pen, width / 2, height / 2, ink, ground);
  };
  const later = () => {
    if (!queued) requestAnimationFrame(draw);
    queued = true;
  };
  return { later, cross(on) { cross = on; later(); } };
}

function drawEdges(pen, points, bytes, ink) {
  if (!bytes?.byteLength) return;
  const ends = new Int32Array(bytesOf(bytes));
  pen.strokeStyle = ink;
  pen.lineWidth = 0.7;
  pen.globalAlpha = Math.min(0.5, Math.max(0.06, 7 / Math.sqrt(ends.length / 2)));
  pen.beginPath();
  for (let at = 0; at < ends.length; at += 2) {
    pen.moveTo(...points.screen(ends[at]));
    pen.lineTo(...points.screen(ends[at + 1]));
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

function drawRings(pen, points, rings, ink, ground, style) {
  pen.font = `600 12px ${style.fontFamily}`;
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  const circle = ([x, y], colour, width) => {
    pen.beginPath();
    pen.arc(x, y, 6, 0, 7);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.stroke();
  };
  for (const [at] of rings) circle(points.screen(at), ground, 4);
  for (const [at] of rings) circle(points.screen(at), ink, 1.8);
  const taken = [];
  for (const [at, name] of rings) {
    if (!name) continue;
    const [x, y] = points.screen(at), wide = pen.measureText(name).width;
    const box = [x + 9, y - 8, x + 11 + wide, y + 8];
    if (taken.some((one) => box[0] < one[2] && one[0] < box[2] && box[1] < one[3] && one[1] < box[3])) continue;
    taken.push(box);
    pen.strokeStyle = ground;
    pen.lineWidth = 3.5;
    pen.strokeText(name, x + 10, y);
    pen.fillStyle = ink;
    pen.fillText(name, x + 10, y);
  }
}

function drawCross(pen, x, y, ink, ground) {
  pen.beginPath();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    pen.moveTo(x + 5 * dx, y + 5 * dy);
    pen.lineTo(x + 14 * dx, y + 14 * dy);
  }
  for (const [colour, wide] of [[ground, 5], [ink, 2]]) {
    [pen.strokeStyle, pen.lineWidth] = [colour, wide];
    pen.stroke();
  }
}

/** Tell which row lies under the pointer, or under the cross. */
function tip(model, stage, points, scope) {
  const box = h("div", { class: "dkv-tip", role: "tooltip", hidden: true });
  const place = (at) => {
    const [x, y] = points.screen(at), { width, height } = stage.getBoundingClientRect();
    box.style.left = x > width / 2 ? "auto" : `${x + 12}px`;
    box.style.right = x > width / 2 ? `${width - x + 12}px` : "auto";
    box.style.top = y > height / 2 ? "auto" : `${y + 12}px`;
    box.style.bottom = y > height / 2 ? `${height - y + 12}px` : "auto";
  };
  const show = () => {
    const { at = -1, label = "", facts = [] } = model.get("_hover");
    box.hidden = at < 0;
    if (at < 0) return;
    box.replaceChildren(h("strong", {}, label),
      h("div", { class: "dkv-facts" }, ...facts.flatMap(([name, value]) => [h("span", {}, name), h("span", {}, value)])));
    place(at);
  };
  scope.on("change:_hover", show);
  return { box, hide() { box.hidden = true; }, again: (at) => at === model.get("_hover").at && show() };
}

function legend(model, scope) {
  const box = h("div", { class: "dkv-legend", role: "group", "aria-label": "Legend" });
  const item = (mark, name) => h("li", {}, mark, name);
  const dot = (shade) => {
    const one = h("span", { class: "dkv-dot" });
    one.style.setProperty("--dkv-shade", shade);
    return one;
  };
  const show = () => {
    const { title = "", items = [], colours = [], low = "", high = "" } = model.get("_legend");
    const ramp = h("div", { class: "dkv-scale" });
    ramp.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
    const scale = colours.length ? [ramp, h("div", { class: "dkv-ends" }, h("span", {}, low), h("span", {}, high))] : [];
    const { rings = "", edges = "" } = model.get("_marked");
    const rest = [...(rings ? [item(h("span", { class: "dkv-ring" }), rings)] : []), ...(edges ? [item(h("span", { class: "dkv-stroke" }), edges)] : [])];
    box.replaceChildren(h("strong", {}, title), ...scale, h("ul", {}, ...items.map(([name, shade]) => item(dot(shade), name)), ...rest));
    box.hidden = !title && !rest.length;
  };
  scope.on("change:_legend", show);
  scope.on("change:_marked", show);
  show();
  return box;
}
