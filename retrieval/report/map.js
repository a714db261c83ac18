// A space as a map on a canvas: pan and zoom, lasso and rectangle, pictures on hover and by keyboard.
// Shared by the site's pages and the report's file; `d3map` (d3-zoom, d3-quadtree) is loaded before it.

/** Images that maps select and point at together. Events: `select`, `point`. */
class MapSelection extends EventTarget {
  ids = new Set();
  current = null;  // the image that is pointed at
  select(ids) { this.ids = new Set(ids); this.dispatchEvent(new Event("select")); }
  point(id) { if (id === this.current) return; this.current = id; this.dispatchEvent(new Event("point")); }
}

const MAP_ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const MAP_MARKS = [  // drawn about 0, 0 with a radius of 1: shapes as well as colours tell groups apart
  (path, x, y, r) => { path.moveTo(x + r, y); path.arc(x, y, r, 0, 2 * Math.PI); },
  (path, x, y, r) => path.rect(x - 0.88 * r, y - 0.88 * r, 1.76 * r, 1.76 * r),
  (path, x, y, r) => { path.moveTo(x, y - 1.2 * r); path.lineTo(x + 1.1 * r, y + 0.8 * r); path.lineTo(x - 1.1 * r, y + 0.8 * r); path.closePath(); },
  (path, x, y, r) => { path.moveTo(x, y - 1.3 * r); path.lineTo(x + 1.1 * r, y); path.lineTo(x, y + 1.3 * r); path.lineTo(x - 1.1 * r, y); path.closePath(); },
  (path, x, y, r) => { path.moveTo(x, y + 1.2 * r); path.lineTo(x + 1.1 * r, y - 0.8 * r); path.lineTo(x - 1.1 * r, y - 0.8 * r); path.closePath(); },
];

/** A group's mark, as it is drawn. */
function mapSymbol(colour, mark) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 28, height: 28, className: "symbol" });
  canvas.setAttribute("aria-hidden", "true");
  const pen = canvas.getContext("2d"), path = new Path2D();
  MAP_MARKS[mark % MAP_MARKS.length](path, 14, 14, 9);
  pen.fillStyle = colour;
  pen.fill(path);
  return canvas;
}

class SpaceMap {
  /**
   * place: an element, which gets a canvas. points: {ids, x, y} of one length, y upwards.
   * options: selection; label, what a screen reader says; describe(at): nodes of the card of a point;
   * open(at): what Enter does; tell(text): says something to a screen reader; selectable: whether images can be selected.
   */
  constructor(place, points, { selection, label, describe, open, tell, selectable = true }) {
    Object.assign(this, { place, points, selection, describe, open, tell, selectable });
    this.count = points.ids.length;
    this.reach = [points.x, points.y].map((all) => all.reduce((most, one) => Math.max(most, Math.abs(one)), 1e-9));
    this.at = new Map(points.ids.map((id, at) => [id, at]));
    this.tool = "move";
    this.group = new Int32Array(this.count);
    this.groups = [{ colour: "#0072b2", mark: 0, shown: true }];
    this.transform = d3map.zoomIdentity;
    this.canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0, className: "map-canvas" });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", label);
    this.card = Object.assign(document.createElement("div"), { className: "map-card", hidden: true });
    place.replaceChildren(this.canvas, this.card);
    this.pen = this.canvas.getContext("2d");
    this.index();
    this.listen();
    this.resize();
  }

  /** Colour by groups: number (n,) of each point and [{colour, mark, shown}]. */
  colour(group, groups) {
    Object.assign(this, { group, groups });
    this.index();
    this.redraw();
  }

  shows(at) { return this.groups[this.group[at]].shown; }

  /** What the pointer can meet. */
  index() {
    const { x, y } = this.points;
    this.shown = [...Array(this.count).keys()].filter((at) => this.shows(at));
    this.tree = d3map.quadtree(this.shown, (at) => x[at], (at) => -y[at]);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (!width || !height) return;
    const dense = devicePixelRatio || 1;
    [this.width, this.height] = [width, height];
    [this.canvas.width, this.canvas.height] = [width * dense, height * dense];
    this.zoom?.extent([[0, 0], [width, height]]).translateExtent([[-0.5 * width, -0.5 * height], [1.5 * width, 1.5 * height]]);
    this.redraw();
  }

  // Places on the screen of the coordinates -1 to 1, and back.
  get unit() { return 0.47 * Math.min(this.width / this.reach[0], this.height / this.reach[1]); }
  across(at) { return this.transform.applyX(this.width / 2 + this.points.x[at] * this.unit); }
  down(at) { return this.transform.applyY(this.height / 2 - this.points.y[at] * this.unit); }
  /** The shown point at most so many pixels from a place on the screen, or null. */
  near(left, top, pixels = 12) {
    const x = (this.transform.invertX(left) - this.width / 2) / this.unit;
    const y = (this.transform.invertY(top) - this.height / 2) / this.unit;
    return this.tree.find(x, y, pixels / this.unit / this.transform.k) ?? null;
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  draw() {
    const began = performance.now();
    const { pen, selection } = this;
    const style = getComputedStyle(this.canvas);
    const dense = this.canvas.width / this.width;
    const radius = Math.min(7, (this.count > 3000 ? 1.9 : 3.2) * this.transform.k ** 0.35);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    const inside = (x, y) => x > -9 && y > -9 && x < this.width + 9 && y < this.height + 9;
    const some = selection.ids.size > 0;
    const paths = this.groups.map(() => [new Path2D(), new Path2D()]);
    let drawn = 0;
    for (const at of this.shown) {
      const [x, y] = [this.across(at), this.down(at)];
      if (!inside(x, y)) continue;
      drawn += 1;
      const chosen = some && selection.ids.has(this.points.ids[at]);
      MAP_MARKS[this.groups[this.group[at]].mark % MAP_MARKS.length](paths[this.group[at]][chosen ? 1 : 0], x, y, chosen ? radius * 1.35 : radius);
    }
    for (const [number, [rest, chosen]] of paths.entries()) {
      pen.fillStyle = this.groups[number].colour;
      pen.globalAlpha = some ? 0.35 : 0.8;
      pen.fill(rest);
      pen.globalAlpha = 1;
      if (!some) continue;
      pen.fill(chosen);
      pen.strokeStyle = style.color;
      pen.lineWidth = 0.9;
      pen.stroke(chosen);
    }
    const current = this.at.get(selection.current);
    delete this.canvas.dataset.at;
    if (current !== undefined && this.shows(current)) {
      this.ring(this.across(current), this.down(current), radius + 4, style);
      this.canvas.dataset.at = `${this.across(current)} ${this.down(current)}`;
    }
    if (this.corner !== undefined && current !== undefined) {
      pen.strokeStyle = style.color; pen.setLineDash([4, 3]);
      const [x, y] = [this.across(this.corner), this.down(this.corner)];
      pen.strokeRect(x, y, this.across(current) - x, this.down(current) - y);
      pen.setLineDash([]);
    }
    if (this.outline?.length > 1) {
      pen.strokeStyle = style.color; pen.lineWidth = 1.5; pen.fillStyle = style.color;
      const path = new Path2D();
      this.outline.forEach(([x, y], n) => (n ? path.lineTo(x, y) : path.moveTo(x, y)));
      path.closePath();
      pen.globalAlpha = 0.1; pen.fill(path); pen.globalAlpha = 1;
      pen.stroke(path);
    }
    // For tests and benchmarks: what is on the screen, and how long the last frame took.
    Object.assign(this.canvas.dataset, { points: this.shown.length, drawn, milliseconds: (performance.now() - began).toFixed(2) });
    this.placeCard();
  }

  ring(x, y, radius, style) {
    const { pen } = this;
    for (const [colour, width] of [[style.backgroundColor, 5], [style.color, 2]]) {
      pen.strokeStyle = colour; pen.lineWidth = width;
      pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI); pen.stroke();
    }
  }

  // The card of the point that is pointed at

  show(at, quiet = false) {
    this.pointed = at;
    this.selection.point(at === null ? null : this.points.ids[at]);
    this.card.hidden = at === null;
    if (at !== null) {
      const nodes = this.describe(at);
      this.card.replaceChildren(...nodes);
      if (!quiet) this.tell?.(this.card.textContent);
    }
    this.redraw();
  }

  placeCard() {
    if (this.card.hidden || this.pointed === null) return;
    const [x, y] = [this.across(this.pointed), this.down(this.pointed)];
    const [width, height] = [this.card.offsetWidth, this.card.offsetHeight];
    const left = x + 12 + width < this.width ? x + 12 : x - 12 - width;
    const top = y + 12 + height < this.height ? y + 12 : y - 12 - height;
    this.card.style.left = `${Math.max(0, Math.min(left, this.width - width))}px`;
    this.card.style.top = `${Math.max(0, Math.min(top, this.height - height))}px`;
  }

  // Selecting

  /** Take points into the selection: in place of it, or with Shift added, with Alt taken away. */
  take(ats, event) {
    const ids = ats.map((at) => this.points.ids[at]);
    const chosen = event.shiftKey || event.altKey ? new Set(this.selection.ids) : new Set();
    for (const id of ids) if (event.altKey) chosen.delete(id); else chosen.add(id);
    this.selection.select(chosen);
  }

  toggle(at) {
    const chosen = new Set(this.selection.ids);
    if (!chosen.delete(this.points.ids[at])) chosen.add(this.points.ids[at]);
    this.selection.select(chosen);
  }

  /** The shown points inside an outline of the screen. */
  inside(outline) {
    return this.shown.filter((at) => {
      const [x, y] = [this.across(at), this.down(at)];
      let within = false;
      for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
        const [[xi, yi], [xj, yj]] = [outline[i], outline[j]];
        if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
      }
      return within;
    });
  }

  use(tool) {
    this.tool = tool;
    this.canvas.dataset.tool = tool;
  }

  whole() { d3map.select(this.canvas).call(this.zoom.transform, d3map.zoomIdentity); }

  listen() {
    const { canvas } = this;
    const here = (event) => { const area = canvas.getBoundingClientRect(); return [event.clientX - area.left, event.clientY - area.top]; };
    this.zoom = d3map.zoom().scaleExtent([0.8, 60])
      .filter((event) => !event.button && (this.tool === "move" || event.type === "wheel" || event.touches?.length > 1))
      .on("zoom", ({ transform }) => { this.transform = transform; this.redraw(); });
    d3map.select(canvas).call(this.zoom).on("dblclick.zoom", null);
    canvas.dataset.tool = this.tool;

    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button || this.tool === "move") return;
      from = here(event);
      this.outline = [from];
      canvas.setPointerCapture(event.pointerId);
      if (!this.card.hidden) this.show(null);
    });
    canvas.addEventListener("pointermove", (event) => {
      const to = here(event);
      if (from) {
        if (this.tool === "box") this.outline = [from, [to[0], from[1]], to, [from[0], to[1]]];
        else this.outline.push(to);
        this.redraw();
      } else if (event.pointerType === "mouse") {
        const at = event.buttons ? null : this.near(...to);
        if (at !== this.pointed) this.show(at, true);
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      const outline = this.outline;
      [from, this.outline] = [null, null];
      if (outline?.length > 2) this.take(this.inside(outline), event);
      this.redraw();
    });
    canvas.addEventListener("pointercancel", () => { [from, this.outline] = [null, null]; this.redraw(); });
    canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && !this.card.matches(":hover")) this.show(null); });
    canvas.addEventListener("click", (event) => {
      const at = this.near(...here(event));
      if (at === null) { if (this.tool === "move") this.show(null); return; }
      if (this.selectable && (event.shiftKey || event.altKey)) this.toggle(at);
      this.show(at);
    });
    canvas.addEventListener("dblclick", (event) => { const at = this.near(...here(event)); if (at !== null) this.open?.(at); });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => { if (!this.card.matches(":hover")) { delete this.corner; this.show(null); } });
    this.selection.addEventListener("select", () => this.redraw());
    this.selection.addEventListener("point", () => {
      if (this.selection.current !== this.points.ids[this.pointed]) { this.pointed = null; this.card.hidden = true; }
      this.redraw();
    });
    this.pointed = null;
    new ResizeObserver(() => this.resize()).observe(this.place);
    for (const query of ["(prefers-color-scheme: dark)", "(resolution: 1dppx)"]) matchMedia(query).addEventListener("change", () => this.resize());
    new MutationObserver(() => this.redraw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey) return;
    const act = {
      "+": () => d3map.select(this.canvas).call(this.zoom.scaleBy, 1.5),
      "=": () => d3map.select(this.canvas).call(this.zoom.scaleBy, 1.5),
      "-": () => d3map.select(this.canvas).call(this.zoom.scaleBy, 1 / 1.5),
      0: () => this.whole(),
      Enter: () => this.pointed !== null && this.open?.(this.pointed),
      " ": () => this.selectable && this.pointed !== null && this.toggle(this.pointed),
      r: () => this.selectable && this.rectangle(event),
      R: () => this.selectable && this.rectangle(event),
      Escape: () => { delete this.corner; this.show(null); },
    }[event.key] ?? (MAP_ARROWS[event.key] && (() => this.step(MAP_ARROWS[event.key])));
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** Mark a corner of a rectangle; at the second one, select what lies between them. */
  rectangle(event) {
    if (this.pointed === null) return;
    if (this.corner === undefined) {
      this.corner = this.pointed;
      this.tell?.("corner of a rectangle; go to the other corner and press R again");
    } else {
      const [[x0, x1], [y0, y1]] = [this.across, this.down].map((place) => [this.corner, this.pointed].map((at) => place.call(this, at)).sort((a, b) => a - b));
      delete this.corner;
      this.take(this.shown.filter((at) => { const [x, y] = [this.across(at), this.down(at)]; return x >= x0 && x <= x1 && y >= y0 && y <= y1; }), event);
    }
    this.redraw();
  }

  /** To the nearest point in a cone of 90 degrees; distance across counts twice, so that a row is kept to. */
  step([right, below]) {
    let best = null, least = Infinity;
    const from = this.pointed;
    const [x0, y0] = from === null ? [this.width / 2, this.height / 2] : [this.across(from), this.down(from)];
    for (const at of this.shown) {
      if (at === from) continue;
      const [dx, dy] = [this.across(at) - x0, this.down(at) - y0];
      const along = dx * right + dy * below, aside = Math.abs(dx * below) + Math.abs(dy * right);
      const far = from === null ? Math.abs(dx) + Math.abs(dy) : along > 0 && aside <= along ? along + aside : Infinity;
      if (far < least) { best = at; least = far; }
    }
    if (best === null) return;
    this.show(best);
    const [x, y] = [this.across(best), this.down(best)];
    if (x < 0 || y < 0 || x > this.width || y > this.height) {
      d3map.select(this.canvas).call(this.zoom.translateBy, (this.width / 2 - x) / this.transform.k, (this.height / 2 - y) / this.transform.k);
    }
  }
}
