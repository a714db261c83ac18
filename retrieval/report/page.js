// The map's points: matplotlib draws one <use> a point, in the order in which the page lists the images of a class.
const box = document.createElement("div");
box.id = "hover";
document.body.append(box);
for (const group of document.querySelectorAll('[id^="map-"]')) {
  const images = pictures.points[group.id] || [];
  group.querySelectorAll("use").forEach((point, i) => {
    const image = images[i];
    if (image === undefined) return;
    point.addEventListener("pointerenter", () => {
      const picture = pictures.thumbnails[image];
      box.replaceChildren();
      if (picture) { const shown = new Image(); shown.src = picture; shown.alt = ""; box.append(shown); }
      box.append(`image ${image}, ${pictures.classes[group.id]}`);
      box.style.display = "block";
    });
    point.addEventListener("pointermove", (event) => {
      box.style.left = Math.min(event.clientX + 14, innerWidth - 170) + "px";
      box.style.top = Math.min(event.clientY + 14, innerHeight - 150) + "px";
    });
    point.addEventListener("pointerleave", () => { box.style.display = "none"; });
  });
}
