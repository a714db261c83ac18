// The page Map: colours, legend, shared selection, and what a selection becomes.
const page = document.querySelector("[data-map-page]");
const facts = JSON.parse(page.dataset.facts);
const [tools, legend, bar] = ["map-tools", "map-legend", "selection"].map((name) => page.querySelector(`.${name}`));
const colourBy = tools.querySelector("[data-colour]");
const told = page.querySelector("[data-told]");
const tell = (text) => { told.textContent = text; };
const make = (name, fields = {}, ...children) => { const node = Object.assign(document.createElement(name), fields); node.append(...children); return node; };
const FAINT = "#8a949a", WRONG = "#d55e00", RIGHT = "#0072b2";
const selection = new MapSelection();
const maps = [];

// What was selected before another space was chosen, or what the address names, is selected once the maps are there.
const CARRIED = "kvasir map selection";
let before = facts.selected;
try {
  before = JSON.parse(sessionStorage.getItem(CARRIED)) ?? before;
  sessionStorage.removeItem(CARRIED);
} catch { /* a browser that stores nothing */ }
document.querySelector(".choose").addEventListener("submit", () => {
  if (selection.ids.size) try { sessionStorage.setItem(CARRIED, JSON.stringify([...selection.ids])); } catch { /* the same */ }
});
const unticked = new Map(); // by kind of colour, the names that are hidden

/** How points are coloured: a name of the group of each, and the groups in order with their colours. */
const KINDS = {
  class: (points) => ({
    names: [...points.classes, "no class"], colours: [...points.classes.map((_, n) => facts.colours[n % facts.colours.length]), FAINT],
    marks: [...points.classes.map((_, n) => Math.floor(n / facts.colours.length)), 0],
    of: (at) => (points.class_numbers[at] < 0 ? points.classes.length : points.class_numbers[at]),
  }),
  error: (points) => ({
    names: ["nearest is of its class", "nearest is of another class", "was no query"], colours: [RIGHT, WRONG, FAINT], marks: [0, 2, 0],
    of: (at) => { const wrong = points.errors?.[at] ?? null; return wrong === null ? 2 : wrong ? 1 : 0; },
  }),
  cluster: (points) => {
    const sizes = new Map();
    for (const cluster of points.clusters) sizes.set(cluster, (sizes.get(cluster) ?? 0) + 1);
    return {
      names: ["has near duplicates", "stands alone"], colours: [WRONG, FAINT], marks: [1, 0],
      of: (at) => (sizes.get(points.clusters[at]) > 1 ? 0 : 1),
    };
  },
  mark: (points) => ({
    names: [...points.marks, "several marks", "no mark", "not looked at"],
    colours: [...points.marks.map((_, n) => facts.colours[n % facts.colours.length]), facts.colours[points.marks.length % facts.colours.length], FAINT, FAINT],
    marks: [...points.marks.map((_, n) => n), 0, 0, 1],
    of: (at) => {
      const bits = points.mark_bits[at], last = points.marks.length;
      if (bits < 0) return last + 2;
      if (!bits) return last + 1;
      return bits & (bits - 1) ? last : Math.log2(bits);
    },
  }),
  source: (points) => ({
    names: points.sources, colours: points.sources.map((_, n) => facts.colours[n % facts.colours.length]),
    marks: points.sources.map((_, n) => n), of: (at) => points.source_numbers[at],
  }),
};

/** Colour every map in the same way, and list the groups that have points. */
function recolour() {
  const kind = colourBy.value;
  const hidden = unticked.get(kind) ?? unticked.set(kind, new Set()).get(kind);
  const counts = new Map();
  for (const map of maps) {
    const { names, colours, marks, of } = KINDS[kind](map.points);
    const group = Int32Array.from(map.points.ids, (_, at) => of(at));
    map.colour(group, names.map((name, n) => ({ name, colour: colours[n], mark: marks[n], shown: !hidden.has(name) })));
    for (const [n, name] of names.entries()) {
      const count = group.reduce((sum, one) => sum + (one === n), 0);
      const known = counts.get(name);
      if (count && (!known || known.count < count)) counts.set(name, { count, colour: colours[n], mark: marks[n] });
    }
  }
  legend.replaceChildren(...[...counts].map(([name, { count, colour, mark }]) => {
    const box = make("input", { type: "checkbox", checked: !hidden.has(name) });
    box.addEventListener("change", () => { if (box.checked) hidden.delete(name); else hidden.add(name); recolour(); legend.querySelectorAll("input")[[...counts.keys()].indexOf(name)].focus(); });
    return make("li", {}, make("label", {}, box, mapSymbol(colour, mark), name, make("small", { textContent: count.toLocaleString("en") })));
  }));
  const missing = kind === "error" && maps.some((map) => !map.points.errors);
  const old = kind === "error" && maps.some((map) => map.points.evaluation_outdated);
  if (missing || old) legend.append(make("li", { className: "note", textContent: missing ? "No stored evaluation has this space: evaluate it on the page Evaluation, or by kvasir evaluate --keep." : "The collection has changed since it was evaluated." }));
}

function picture(id) {
  return Object.assign(new Image(), { src: facts.thumbnail.replace("{image}", id), alt: "", loading: "lazy" });
}

function addMap(place, points) {
  const map = new SpaceMap(place, points, {
    selection, tell,
    label: `Map of ${points.ids.length.toLocaleString("en")} images in ${points.space}: arrow keys go from image to image, Space selects, Enter opens`,
    open: (at) => location.assign(facts.image.replace("{image}", points.ids[at])),
    describe: (at) => {
      const name = points.classes[points.class_numbers[at]] ?? "no class";
      const wrong = points.errors?.[at];
      return [picture(points.ids[at]), make("b", { textContent: `Image ${points.ids[at]}` }), make("span", { textContent: name }),
        ...(wrong ? [make("span", { className: "warn", textContent: "its nearest is of another class" })] : [])];
    },
  });
  maps.push(map);
  map.use(tools.querySelector("[name=tool]:checked").value);
}

async function load(place) {
  const state = place.querySelector("[data-state]");
  try {
    const response = await fetch(place.dataset.map, { headers: { Accept: "application/json" } });
    const body = await response.json();
    if (!response.ok) throw new Error(body.detail ?? body.title);
    addMap(place, body);
  } catch (fault) {
    state.className = "error";
    state.setAttribute("role", "alert");
    state.textContent = `The map could not be loaded: ${fault instanceof TypeError ? "the server does not answer" : fault.message}. `;
    state.append(make("button", { type: "button", className: "quiet", textContent: "Try again", onclick: () => { state.className = "note"; state.removeAttribute("role"); state.textContent = "Loading the map …"; load(place).then(ready); } }));
  }
}

function ready() {
  if (!maps.length) return;
  tools.hidden = false;
  if (before) selection.select(before);
  before = null;
  if (!maps.some((map) => map.points.sources.length > 1)) {
    const source = tools.querySelector('option[value="source"]');
    source.disabled = true;
    source.textContent = "source: all images are of one";
  }
  recolour();
  selected();
}

// What a selection becomes

const SHOWN = 24;
function selected() {
  const ids = [...selection.ids].sort((a, b) => a - b);
  bar.hidden = !ids.length;
  tell(ids.length ? `${ids.length} selected` : "nothing selected");
  if (!ids.length) return;
  bar.querySelector("[data-count]").textContent = `${ids.length.toLocaleString("en")} image${ids.length === 1 ? "" : "s"} selected`;
  for (const field of bar.querySelectorAll('input[name="ids"]')) field.value = ids.join(",");
  // Spread evenly, where there are more than a query can have.
  const most = Math.min(ids.length, facts.most_parts);
  const parts = Array.from({ length: most }, (_, n) => ids[Math.floor((n * ids.length) / most)]);
  const by = bar.querySelector("[data-by]");
  by.href = `${facts.results}?${new URLSearchParams({ image: parts[0], ...(most > 1 && { more: parts.slice(1).join(",") }), spaces: maps[0].points.space, k: 12, fold: "true" })}`;
  by.textContent = ids.length > most ? `Search by ${most} of them` : ids.length === 1 ? "Search by it" : "Search by them together";
  const counts = new Map();
  for (const id of ids) {
    const map = maps.find((one) => one.at.has(id)), name = map?.points.classes[map.points.class_numbers[map.at.get(id)]] ?? "no class";
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  bar.querySelector("[data-classes]").replaceChildren(...[...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => {
    const number = maps[0].points.classes.indexOf(name);
    return make("li", {}, mapSymbol(number < 0 ? FAINT : facts.colours[number % facts.colours.length], Math.max(0, Math.floor(number / facts.colours.length))), `${name} ${count.toLocaleString("en")}`);
  }));
  bar.querySelector("[data-strip]").replaceChildren(...ids.slice(0, SHOWN).map((id) => {
    const link = make("a", { href: facts.image.replace("{image}", id) }, Object.assign(picture(id), { alt: `Image ${id}` }));
    link.addEventListener("pointerenter", () => selection.point(id));
    link.addEventListener("focus", () => selection.point(id));
    link.addEventListener("pointerleave", () => selection.point(null));
    return make("li", {}, link);
  }));
  bar.querySelector("[data-rest]").textContent = ids.length > SHOWN ? `and ${(ids.length - SHOWN).toLocaleString("en")} more` : "";
}
selection.addEventListener("select", selected);
bar.querySelector("[data-clear]").addEventListener("click", () => { selection.select([]); maps[0]?.canvas.focus(); });
colourBy.addEventListener("change", recolour);
tools.querySelector("[data-whole]").addEventListener("click", () => { for (const map of maps) map.whole(); });
for (const tool of tools.querySelectorAll("[name=tool]")) tool.addEventListener("change", () => { for (const map of maps) map.use(tool.value); });
for (const select of document.querySelectorAll(".choose select")) select.addEventListener("change", () => select.form.requestSubmit());
addEventListener("DOMContentLoaded", () => Promise.all([...page.querySelectorAll("[data-map]")].map(load)).then(ready));
