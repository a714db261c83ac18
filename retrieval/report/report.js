// The maps of a report: the points of a drawing, of which matplotlib makes one <use> each in the order in which the page
// lists the images of a class, become a map that moves (map.js). The drawing itself is printed.
const SVG = "http://www.w3.org/2000/svg";

/** What shows an image: its picture where the page has it, else nothing. */
function shownPicture(image) {
  if (pictures.place) {  // inside the site pictures have addresses
    return [Object.assign(new Image(), { className: "picture", alt: "", src: pictures.place.replace("{image}", image) })];
  }
  if (!document.getElementById(`i${image}`)) return [];
  const picture = document.createElementNS(SVG, "svg"), use = document.createElementNS(SVG, "use");
  picture.setAttribute("class", "picture");
  use.setAttribute("href", `#i${image}`);
  picture.append(use);
  return [picture];
}

for (const figure of document.querySelectorAll("figure.map")) {
  const drawing = figure.querySelector("svg");
  const points = { ids: [], x: [], y: [] }, groups = [], group = [];
  for (const drawn of drawing.querySelectorAll('[id^="map-"]')) {
    const images = pictures.points[drawn.id] ?? [];
    const uses = [...drawn.querySelectorAll("use")];
    if (!uses.length) continue;
    const number = Number(drawn.id.split("-").at(-1));
    groups.push({ name: pictures.classes[drawn.id], colour: getComputedStyle(uses[0]).fill, mark: Math.max(0, Math.floor(number / pictures.colours)), shown: true });
    uses.forEach((use, at) => {
      if (images[at] === undefined) return;
      points.ids.push(images[at]);
      points.x.push(Number(use.getAttribute("x")));
      points.y.push(-Number(use.getAttribute("y")));
      group.push(groups.length - 1);
    });
  }
  if (!points.ids.length) continue;
  const [x, y] = [points.x, points.y].map((all) => [Math.min(...all), Math.max(...all)]);
  const extent = Math.max(x[1] - x[0], y[1] - y[0]) || 1;
  points.x = points.x.map((one) => (2 * one - x[0] - x[1]) / extent);
  points.y = points.y.map((one) => (2 * one - y[0] - y[1]) / extent);
  const [place, told, legend] = ["div", "p", "ul"].map((name) => document.createElement(name));
  [place.className, told.className, legend.className] = ["drawing", "told", "map-legend"];
  told.setAttribute("role", "status");
  legend.setAttribute("aria-label", "Legend; what is unticked is hidden");
  const frame = drawing.parentElement;
  frame.removeAttribute("tabindex");  // the map takes the focus, and nothing scrolls any more
  frame.prepend(legend, place, told);
  figure.classList.add("moves");
  const map = new SpaceMap(place, points, {
    selection: new MapSelection(), selectable: false,
    label: `Map of ${points.ids.length} images; the arrow keys go from one to the next`,
    tell: (text) => { told.textContent = text; },
    describe: (at) => [...shownPicture(points.ids[at]), `image ${points.ids[at]}, ${groups[group[at]].name}`],
    open: (at) => pictures.page && location.assign(pictures.page.replace("{image}", points.ids[at])),
  });
  map.colour(Int32Array.from(group), groups);
  legend.append(...groups.map((one) => {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    box.addEventListener("change", () => { one.shown = box.checked; map.colour(map.group, groups); });
    const [item, label] = [document.createElement("li"), document.createElement("label")];
    label.append(box, mapSymbol(one.colour, one.mark), one.name);
    item.append(label);
    return item;
  }));
}

// What is folded on a screen is printed.
addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
