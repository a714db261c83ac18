// The map's points: matplotlib draws one <use> a point, in the order in which the page lists the images of a class.
const SVG = "http://www.w3.org/2000/svg";
const box = document.createElement("div");
box.id = "hover";
box.setAttribute("role", "status");
(document.querySelector(".report") ?? document.querySelector("main")).append(box);

let shown = null;

function hide() {
  shown = null;
  box.style.display = "none";
  for (const ring of document.querySelectorAll(".ring")) ring.remove();
}

// Beside its point, also when the page scrolls under it; away with the point.
function place() {
  if (!shown) return;
  const { left, top, right, bottom } = shown.point.getBoundingClientRect();
  if (right < 0 || bottom < 0 || left > innerWidth || top > innerHeight) { hide(); return; }
  box.style.left = Math.max(0, Math.min(right + 8, innerWidth - box.offsetWidth - 8)) + "px";
  box.style.top = Math.max(0, Math.min(bottom + 8, innerHeight - box.offsetHeight - 8)) + "px";
}

function show(one) {
  hide();
  box.replaceChildren();
  if (pictures.place) {  // inside the site pictures have addresses
    const picture = new Image();
    picture.className = "picture";
    picture.alt = "";
    picture.src = pictures.place.replace("{image}", one.image);
    box.append(picture);
  } else if (document.getElementById(`i${one.image}`)) {
    const picture = document.createElementNS(SVG, "svg"), use = document.createElementNS(SVG, "use");
    picture.setAttribute("class", "picture");
    use.setAttribute("href", `#i${one.image}`);
    picture.append(use);
    box.append(picture);
  }
  box.append(`image ${one.image}, ${one.name}`);
  const ring = document.createElementNS(SVG, "circle");
  for (const [name, value] of Object.entries({ class: "ring", cx: one.x, cy: one.y, r: 5 })) ring.setAttribute(name, value);
  one.point.ownerSVGElement.append(ring);
  shown = one;
  box.style.display = "block";
  place();
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

for (const map of document.querySelectorAll("figure.map > div")) {
  const all = [];
  for (const group of map.querySelectorAll('[id^="map-"]')) {
    const images = pictures.points[group.id] || [];
    group.querySelectorAll("use").forEach((point, i) => {
      if (images[i] === undefined) return;
      all.push({ point, image: images[i], name: pictures.classes[group.id],
        x: Number(point.getAttribute("x")), y: Number(point.getAttribute("y")) });
    });
  }
  let current = null;
  const go = (one) => { current = one; show(one); };
  for (const one of all) {
    one.point.addEventListener("pointerenter", () => go(one));
    one.point.addEventListener("click", () => go(one));  // a finger, which does not hover
    one.point.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
  }
  map.setAttribute("role", "group");
  map.setAttribute("aria-label", "Map of images; the arrow keys go from one to the next");
  map.addEventListener("blur", hide);
  map.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const way = ARROWS[event.key];
    if (!way || !all.length) return;
    event.preventDefault();
    if (!current) { go(all[0]); return; }
    // The nearest in a cone of 90 degrees; distance across counts twice, so that a row is kept to.
    let best = null, least = Infinity;
    for (const one of all) {
      const dx = one.x - current.x, dy = one.y - current.y;
      const along = dx * way[0] + dy * way[1], across = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      if (one !== current && along > 0 && across <= along && along + across < least) { best = one; least = along + across; }
    }
    if (best) go(best);
  });
}

addEventListener("scroll", place, { capture: true, passive: true });  // a narrow screen scrolls the figure itself
// What is folded on a screen is printed.
addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
