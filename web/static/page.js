// Makes the pages quicker to use; every path works without it as well.
document.documentElement.classList.add("scripted");

const progress = document.getElementById("progress");

/** Show the sign of work unless the work ends within 300 ms; returns a function that ends it. */
function working() {
  const timer = setTimeout(() => {
    (document.querySelector("dialog[open]") ?? document.body).append(progress); // nothing outside shows above a dialog
    progress.hidden = false;
  }, 300);
  return () => { clearTimeout(timer); progress.hidden = true; };
}

addEventListener("pageshow", () => { progress.hidden = true; }); // back to a page that was left while it worked
for (const link of document.querySelectorAll("a[data-search]")) link.addEventListener("click", working);
for (const form of document.querySelectorAll("form[data-again]")) form.addEventListener("submit", working);

const searchForm = document.querySelector("form[data-search-form]");
if (searchForm) takePicture(searchForm);
for (const figure of document.querySelectorAll("[data-preview] .framed, .query .framed")) drawRegion(figure);

/** Drop, paste or choose pictures; preview the first, search by them at once, and say in words what went wrong. */
function takePicture(form) {
  const [file, camera] = form.querySelectorAll('input[type="file"]');
  const drop = form.querySelector("[data-drop]");
  const preview = form.querySelector("[data-preview]");
  const fault = form.querySelector("[data-error]");
  const limit = Number(form.dataset.maxBytes);
  let chosen = [];
  let sending = new AbortController();

  const hint = () => Object.assign(document.createElement("p"), {
    className: "note hint", textContent: `Draw a box on it to search by that part alone.${chosen.length > 1 ? ` Searched together with ${chosen.length - 1} more.` : ""}`,
  });

  form.classList.toggle("has-picture", !preview.hidden);
  if (!preview.hidden) preview.append(hint());

  function say(text) {
    fault.hidden = !text;
    fault.textContent = text;
    if (text) fault.scrollIntoView({ block: "nearest" });
  }

  /** keep: the picture was there before, so its region stays and nothing is searched by itself. */
  function take(pictures, { keep = false } = {}) {
    const [picture] = pictures;
    if (!picture) return;
    say("");
    const size = pictures.reduce((sum, one) => sum + one.size, 0);
    if (size > limit) {
      const [files, most] = pictures.length > 1 ? [`The ${pictures.length} files together have`, "they"] : [`The file ${picture.name} has`, "a picture"];
      say(`${files} ${(size / 2 ** 20).toFixed(1)} MiB; ${most} may have at most ${Number((limit / 2 ** 20).toPrecision(3))} MiB.`);
      return;
    }
    chosen = pictures;
    form.querySelector('input[name="image"]')?.remove();
    for (const one of form.querySelectorAll("[data-picked]")) one.remove();
    for (const one of form.querySelectorAll("[data-unpicked]")) one.hidden = false;
    const frame = document.createElement("div");
    frame.className = "framed";
    const image = new Image();
    image.alt = `Your picture, ${picture.name || "pasted"}`;
    image.src = URL.createObjectURL(picture);
    image.addEventListener("error", () => {
      preview.replaceChildren(Object.assign(document.createElement("p"), {
        className: "note", textContent: `${picture.name}: this browser cannot preview it; the server may read it all the same.`,
      }));
    });
    frame.append(image);
    preview.replaceChildren(frame, hint());
    preview.hidden = false;
    form.classList.add("has-picture");
    if (!keep) clearRegion(form);
    drawRegion(frame);
    if (!keep) form.requestSubmit();
  }

  // Back from the hits the fields still have what was chosen.
  addEventListener("pageshow", () => { if (!chosen.length) take([...file.files, ...camera.files], { keep: true }); });

  for (const input of [file, camera]) input.addEventListener("change", () => take([...input.files]));
  for (const name of ["dragenter", "dragover"]) {
    addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const pictures = [...event.dataTransfer.files];
    const page = pageOf(event.dataTransfer.getData("text/uri-list"));
    if (page) location.assign(page);
    else if (pictures.length) take(pictures);
    else say("That is not a picture file.");
  });
  addEventListener("paste", (event) => {
    take([...event.clipboardData.files].filter((one) => one.type.startsWith("image/")));
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    fields.delete("picture");
    say("");
    for (const one of chosen) fields.append("picture", one, one.name || "pasted");
    sending.abort(); // another picture was chosen meanwhile
    sending = new AbortController();
    const fault = await send(form.action, fields, sending.signal);
    if (!fault) return;
    if (!preview.querySelector(".framed")) preview.hidden = true; // that it might be read after all
    say(fault);
  });
}

/** Send a form, and go on to what it leads to; returns what went wrong, in words. */
async function send(action, fields, signal) {
  const done = working();
  try {
    const response = await fetch(action, { method: "POST", body: fields, headers: { Accept: "application/json" }, signal });
    const body = await response.json();
    if (response.ok) { location.assign(body.location); return null; }
    done();
    return response.status === 503 ? "Many searches are running at this moment. Wait a second, and search again." : body.detail;
  } catch {
    done();
    return signal?.aborted ? null : "The server does not answer. What you chose is still here: search again when the server is back.";
  }
}

const adding = document.getElementById("add");
if (adding) addParts(adding);

/** Choose, drop or paste further pictures: each becomes a part of the query, which stays as the fields are filled. */
function addParts(form) {
  const again = document.querySelector("form[data-again]");
  const drop = again.querySelector("[data-drop]");
  const fault = drop.querySelector("[data-error]");
  const [file] = drop.querySelectorAll('input[type="file"]');

  async function add(pictures) {
    const fields = new FormData(again);
    for (const one of pictures) fields.append("picture", one, one.name || "pasted");
    for (const name of ["vector", "vector_space"]) fields.append(name, form.elements[name].value);
    const size = pictures.reduce((sum, one) => sum + one.size, 0);
    const limit = Number(form.dataset.maxBytes);
    say("");
    say(size > limit ? `That is ${(size / 2 ** 20).toFixed(1)} MiB; what is added at once may have at most ${Number((limit / 2 ** 20).toPrecision(3))} MiB.` : await send(form.action, fields));
    if (file) file.value = ""; // so that the same one can be chosen again
  }
  function say(text) {
    fault.hidden = !text;
    fault.textContent = text ?? "";
    if (text) fault.scrollIntoView({ block: "center" });
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); add([...file?.files ?? []]); });
  if (!file) return;
  file.addEventListener("change", () => { if (file.files.length) add([...file.files]); });
  for (const name of ["dragenter", "dragover"]) {
    addEventListener(name, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    add([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    const pictures = [...event.clipboardData.files].filter((one) => one.type.startsWith("image/"));
    if (pictures.length) add(pictures);
  });
}

/** Where to search by the image that a dragged address of this site is of; nothing for any other text. */
function pageOf(text) {
  const address = URL.canParse(text) ? new URL(text) : null;
  const home = new URL(document.querySelector(".brand").href); // a proxy may serve this site under a prefix
  if (address?.origin !== home.origin || !address.pathname.startsWith(home.pathname)) return null;
  const [fields, path] = [address.searchParams, address.pathname.slice(home.pathname.length - 1)];
  const id = fields.get("hit") ?? fields.get("image") ?? path.match(/\/images\/(\d+)/)?.[1];
  return id && new URL(`?image=${encodeURIComponent(id)}`, home);
}

/** Draw a box on a picture; the four numbers below are the same box, for the keyboard. */
function drawRegion(figure) {
  const form = figure.closest("form") ?? document.querySelector("form[data-again]");
  const inputs = ["left", "top", "width", "height"].map((name) => form?.querySelector(`input[name="${name}"]`));
  if (inputs.includes(null) || inputs.includes(undefined)) return;
  const details = inputs[0].closest("details");
  const clear = details.querySelector("[data-clear-region]");
  details.querySelector("[data-drag-note]").textContent = "Draw a box on the picture, or give it in percent.";
  figure.classList.add("drawable");
  figure.querySelector(".frame")?.remove();
  const box = figure.querySelector(".box") ?? figure.appendChild(Object.assign(document.createElement("div"), { className: "box" }));

  function show() {
    const values = inputs.map((input) => input.value);
    const whole = values.some((value) => value === "");
    box.hidden = whole;
    clear.hidden = whole;
    if (whole) return;
    [box.style.left, box.style.top, box.style.width, box.style.height] = values.map((value) => `${value}%`);
  }
  for (const input of inputs) input.oninput = show;
  clear.onclick = () => { clearRegion(form); show(); };
  show();

  figure.querySelector("img").draggable = false;
  figure.onpointerdown = (event) => {
    if (event.button) return;
    const at = (point) => {
      const area = figure.getBoundingClientRect();
      const share = (value, start, size) => Math.min(Math.max((value - start) / size, 0), 1) * 100;
      return [share(point.clientX, area.left, area.width), share(point.clientY, area.top, area.height)];
    };
    const from = at(event);
    figure.setPointerCapture(event.pointerId);
    figure.onpointermove = (move) => {
      const to = at(move);
      const size = [Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])];
      if (Math.min(...size) < 2) return; // a click or a line, not a box
      const numbers = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), ...size];
      inputs.forEach((input, index) => { input.value = (Math.floor(numbers[index] * 10) / 10).toString(); });
      details.open = true;
      show();
    };
    figure.onpointerup = figure.onpointercancel = () => { figure.onpointermove = null; };
  };
}

function clearRegion(form) {
  for (const name of ["left", "top", "width", "height"]) form.querySelector(`input[name="${name}"]`).value = "";
}

/** The link to the next or the previous hit, where an arrow key without Shift was pressed. */
function neighbour(place, event) {
  const way = !event.shiftKey && { ArrowRight: "next", ArrowLeft: "prev" }[event.key];
  return way && place.querySelector(`[rel="${way}"]`);
}

/** Zoom and pan the pictures of a pair in step: wheel, drag, two fingers, double click, or keys. */
function zoom(pair) {
  const frames = [...pair.querySelectorAll(":scope > figure > .framed")];
  let [scale, x, y] = [1, 0, 0]; // of the first frame's size, from its upper left corner

  function draw() {
    scale = Math.min(Math.max(scale, 1), 12);
    [x, y] = [x, y].map((at) => Math.min(Math.max(at, 0), 1 - 1 / scale));
    for (const frame of frames) {
      frame.classList.toggle("zoomed", scale > 1);
      for (const part of frame.children) {
        part.style.transform = `scale(${scale}) translate(${-x * frame.clientWidth}px, ${-y * frame.clientHeight}px)`;
      }
    }
    words.textContent = `${Math.round(scale * 100)} %`;
  }

  /** Zoom about a point of a frame, in shares of it. */
  function by(factor, [left, top] = [0.5, 0.5]) {
    const next = Math.min(Math.max(scale * factor, 1), 12);
    x += left / scale - left / next;
    y += top / scale - top / next;
    scale = next;
    draw();
  }
  const pan = (across, down) => { x += across / scale; y += down / scale; draw(); };
  const whole = () => { scale = 1; draw(); };

  const bar = Object.assign(document.createElement("p"), { className: "zoom" });
  const words = Object.assign(document.createElement("span"), { className: "note" });
  words.setAttribute("role", "status");
  for (const [text, label, act] of [["−", "Zoom out", () => by(1 / 1.5)], ["+", "Zoom in", () => by(1.5)], ["Whole", "Whole pictures", whole]]) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: text, title: label, onclick: act });
    button.setAttribute("aria-label", label);
    bar.append(button);
  }
  bar.append(words);
  pair.append(bar);

  for (const frame of frames) {
    const fingers = new Map();
    const at = (event) => {
      const area = frame.getBoundingClientRect();
      return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    };
    const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    frame.classList.add("zoomable");
    frame.querySelector("img").draggable = false;
    frame.addEventListener("wheel", (event) => { event.preventDefault(); by(Math.exp(-event.deltaY / 400), at(event)); }, { passive: false });
    frame.addEventListener("dblclick", (event) => { if (scale > 1) whole(); else by(2.5, at(event)); });
    frame.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, at(event)); frame.setPointerCapture(event.pointerId); });
    frame.addEventListener("pointermove", (event) => {
      const from = fingers.get(event.pointerId);
      if (!from) return;
      const [to, before] = [at(event), fingers.size === 2 && spread()];
      fingers.set(event.pointerId, to);
      if (before) by(spread() / before, to);
      else pan(from[0] - to[0], from[1] - to[1]);
    });
    for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }
  const keys = {
    "+": () => by(1.5), "=": () => by(1.5), "-": () => by(1 / 1.5), 0: whole,
    ArrowLeft: () => pan(-0.2, 0), ArrowRight: () => pan(0.2, 0), ArrowUp: () => pan(0, -0.2), ArrowDown: () => pan(0, 0.2),
  };
  pair.closest("article").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || !(event.key in keys) || (event.key.startsWith("Arrow") && !event.shiftKey)) return;
    event.preventDefault();
    keys[event.key]();
  });
  addEventListener("resize", draw);
  draw();
}

/** Show the best match, in the other picture of a pair, of the place that is pointed at. */
function matchPlaces(pair) {
  const sides = [...pair.querySelectorAll(".cells")];
  if (sides.length !== 2) return;
  const words = pair.parentElement.querySelector("[data-matched]");
  const cells = sides.map((side) => [...side.querySelectorAll("rect")]);
  const clear = () => { for (const rect of cells.flat()) rect.classList.remove("here", "match"); };
  for (const [number, side] of sides.entries()) {
    const [left, top, width, height] = side.dataset.area.split(" ").map(Number);
    const [rows, columns] = [Number(side.dataset.rows), Number(side.dataset.columns)];
    const point = (event) => {
      const area = side.getBoundingClientRect();
      const column = Math.floor(((event.clientX - area.left) / area.width - left) / width * columns);
      const row = Math.floor(((event.clientY - area.top) / area.height - top) / height * rows);
      clear();
      const inside = row >= 0 && row < rows && column >= 0 && column < columns;
      words.textContent = inside ? `Best match: ${cells[number][row * columns + column].dataset.likeness} alike, of 1.` : "";
      if (!inside) return;
      const here = cells[number][row * columns + column];
      here.classList.add("here");
      cells[1 - number][Number(here.dataset.match)].classList.add("match");
    };
    side.parentElement.addEventListener("pointermove", point);
    side.parentElement.addEventListener("pointerdown", point);
    side.parentElement.addEventListener("pointerleave", () => { clear(); words.textContent = ""; });
  }
}

const comparison = document.querySelector("main > [data-comparison]"); // as a page of its own
if (comparison) {
  matchPlaces(comparison.querySelector("[data-zoom]"));
  zoom(comparison.querySelector("[data-zoom]"));
  addEventListener("keydown", (event) => {
    const link = neighbour(comparison, event);
    if (link) location.assign(link.href);
  });
}

// On a narrow screen the way to the form stays in sight until the form itself is.
const down = document.querySelector(".jump .down");
if (down) new IntersectionObserver(([{ isIntersecting }]) => down.classList.toggle("here", isIntersecting)).observe(document.getElementById("refine"));

// Hits that fit or do not: one mark each, by mouse, finger or key; the bar at the bottom searches again with them.
const outcome = document.querySelector("[data-results] .outcome");
const fitBoxes = () => [...outcome.querySelectorAll(".fit input")];
if (outcome) {
  outcome.addEventListener("change", ({ target }) => { if (target.matches(".fit input")) mark(target, target.checked); });
  outcome.addEventListener("keydown", (event) => {
    const hit = event.target.closest(".hit");
    const name = fitKey(event);
    if (!hit || !name) return;
    event.preventDefault();
    const box = hit.querySelector(`.fit input[name="${name}"]`);
    mark(box, !box.checked);
  });
  addEventListener("formdata", ({ target, formData }) => {
    if (!target.matches("form[data-again]")) return;
    for (const name of ["relevant", "irrelevant"]) {
      let ids = formData.getAll(name);
      if (target.id !== "marks") { // the other form has the marks that came with the address
        const shown = new Map(fitBoxes().filter((box) => box.name === name).map((box) => [box.value, box]));
        ids = ids.filter((id) => !shown.has(id) || shown.get(id).checked);
        for (const [id, box] of shown) if (box.checked && !box.defaultChecked) ids.push(id);
      }
      formData.delete(name);
      if (ids.length) formData.set(name, ids.join(","));
    }
  });
  addEventListener("pageshow", tellMarks);
}
/** The kind of mark that a pressed key means. */
function fitKey(event) {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.matches("input:not([type=checkbox]), select, textarea");
  return plain && { y: "relevant", n: "irrelevant" }[event.key.toLowerCase()];
}
function mark(box, fits) {
  for (const other of box.closest(".fit").querySelectorAll("input")) other.checked = other === box && fits;
  tellMarks();
}
function tellMarks() {
  const bar = document.getElementById("marks");
  if (!bar) return;
  const count = (name) => bar.querySelectorAll(`input[type="hidden"][name="${name}"]`).length + fitBoxes().filter((box) => box.name === name && box.checked).length;
  const [fit, unfit] = [count("relevant"), count("irrelevant")];
  bar.querySelector("[data-told]").textContent = [fit && `${fit} fit${fit === 1 ? "s" : ""}`, unfit && `${unfit} do${unfit === 1 ? "es" : ""} not`].filter(Boolean).join(", ");
  bar.querySelector("button").textContent = fit + unfit ? `${fit + unfit} marked: search again` : "Search again without marks";
}

// More hits come below those that are there.
document.querySelector("[data-results]")?.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-more]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const known = outcome.querySelectorAll(".hit").length;
  const done = working();
  try {
    const page = new DOMParser().parseFromString(await (await fetch(link.href)).text(), "text/html");
    const marked = new Set(fitBoxes().filter((box) => box.checked).map((box) => box.name + box.value));
    outcome.replaceChildren(...page.querySelector(".outcome").children);
    for (const box of fitBoxes()) box.checked = marked.has(box.name + box.value);
    tellMarks();
    history.replaceState(history.state, "", link.href);
    document.getElementById("k").value = page.getElementById("k").value;
    outcome.querySelectorAll(".hit .look")[known]?.focus({ preventScroll: true });
    showCopyButtons();
  } catch {
    location.assign(link.href);
  }
  done();
});

// A visitor's searches, remembered in the browser and nowhere else.
const RECENT = "kvasir recent searches";
const MOST_RECENT = 12;
function recentSearches() {
  try { return JSON.parse(localStorage.getItem(RECENT)) ?? []; } catch { return []; }
}
function remember(searches) {
  try { localStorage.setItem(RECENT, JSON.stringify(searches)); } catch { /* a browser that stores nothing */ }
}
const answered = document.querySelector("[data-results] .query img") ?? document.querySelector("[data-results] .hit img");
if (answered && document.querySelector(".hit")) {
  const note = () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 128 });
    const size = Math.min(160 / answered.naturalWidth, 128 / answered.naturalHeight);
    const [width, height] = [answered.naturalWidth * size, answered.naturalHeight * size];
    canvas.getContext("2d").drawImage(answered, (160 - width) / 2, (128 - height) / 2, width, height);
    const one = {
      address: location.pathname + location.search, words: [...document.querySelectorAll("[data-said]"), document.querySelector("h1")].map((part) => part.textContent).join(": "),
      picture: canvas.toDataURL("image/jpeg", 0.7), time: Date.now(),
    };
    remember([one, ...recentSearches().filter((other) => other.address !== one.address)].slice(0, MOST_RECENT));
  };
  if (answered.complete && answered.naturalWidth) note();
  else answered.addEventListener("load", note);
}
const recent = document.querySelector("[data-recent]");
if (recent) {
  const show = () => {
    const searches = recentSearches();
    recent.hidden = !searches.length;
    recent.querySelector("ul").replaceChildren(...searches.slice(0, 6).map(({ address, words, picture, time }) => {
      const link = Object.assign(document.createElement("a"), { href: address });
      const image = Object.assign(new Image(), { src: picture, alt: "" });
      const when = Object.assign(document.createElement("small"), { textContent: new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "short" }) });
      link.append(image, words, when);
      const item = document.createElement("li");
      item.append(link);
      return item;
    }));
  };
  recent.querySelector("[data-forget]").addEventListener("click", () => { try { localStorage.removeItem(RECENT); } catch { /* nothing is stored */ } show(); });
  addEventListener("pageshow", show);
  show();
}

// A hit next to the query, without leaving the hits: arrows go on, Escape and the browser's Back end.
// The history's state says which one is shown.
const dialog = document.querySelector("[data-dialog]");
if (dialog) {
  let looking = new AbortController();
  let shown = null;

  async function show(address) {
    looking.abort();
    looking = new AbortController();
    const { signal } = looking;
    const done = working();
    try {
      const response = await fetch(address, { signal });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const comparison = page.querySelector("[data-comparison]");
      if (!comparison) return location.assign(address);
      dialog.replaceChildren(comparison);
      zoom(comparison.querySelector("[data-zoom]"));
      showFit();
      matchPlaces(comparison.querySelector("[data-zoom]"));
      dialog.scrollTop = 0;
      shown = address;
      if (!dialog.open) dialog.showModal();
      history[history.state?.compare ? "replaceState" : "pushState"]({ compare: address }, "");
      (dialog.querySelector('[rel="next"]') ?? dialog.querySelector("[data-close]")).focus();
    } catch {
      if (!signal.aborted) location.assign(address);
    } finally {
      done();
    }
  }

  /** To the hit that was shown last. */
  function land() {
    [...document.querySelectorAll("a[data-compare]")].find((link) => link.href === shown)?.focus();
    shown = null;
  }

  /** In the dialog a mark is that of the hit below it. */
  const fitBox = (name, image) => fitBoxes().find((box) => box.name === name && box.value === image);
  function showFit() {
    for (const link of dialog.querySelectorAll("[data-fit]")) {
      if (fitBox(link.dataset.fit, link.dataset.image)?.checked) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }
  function fit(event, link) {
    const box = link && fitBox(link.dataset.fit, link.dataset.image);
    if (!box) return;
    event.preventDefault();
    mark(box, !box.checked);
    showFit();
  }

  document.querySelector(".outcome").addEventListener("click", (event) => {
    const link = event.target.closest("a[data-compare]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link.href);
  });
  dialog.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (event.target === dialog || link?.matches("[data-close]")) { event.preventDefault(); dialog.close(); }
    else if (link?.rel || link?.matches("[data-agreement]")) { event.preventDefault(); show(link.href); }
    else if (link?.dataset.fit) fit(event, link);
  });
  dialog.addEventListener("keydown", (event) => {
    const link = neighbour(dialog, event);
    if (link) { event.preventDefault(); show(link.href); }
    const kind = fitKey(event);
    if (kind) fit(event, dialog.querySelector(`[data-fit="${kind}"]`));
  });
  dialog.addEventListener("close", () => {
    looking.abort();
    if (history.state?.compare) history.back();
    else land();
  });
  addEventListener("popstate", ({ state }) => {
    if (state?.compare) show(state.compare);
    else if (dialog.open) dialog.close();
    else setTimeout(land); // the browser has yet to scroll to where the page was
  });
  if (history.state?.compare) show(history.state.compare); // loaded again, or come back to
}

// Switching the look keeps what the page holds; the server remembers it, unless it is the system's.
const theme = document.querySelector("form.theme");
theme.addEventListener("submit", (event) => {
  event.preventDefault();
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const to = event.submitter.value === system ? "" : event.submitter.value;
  fetch(theme.action, { method: "POST", body: new URLSearchParams({ to }), redirect: "manual", keepalive: true }).catch(() => {});
  if (to) root.dataset.theme = to;
  else delete root.dataset.theme;
  document.querySelector('meta[name="color-scheme"]').content = to || "light dark";
  [...theme.querySelectorAll("button")].find((button) => button.checkVisibility())?.focus();
});

function showCopyButtons() {
  if (navigator.clipboard) for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
}
showCopyButtons();
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).value);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

// Explanations: placed where they fit, shown by a finger as well, hidden by Escape.
function placeTip(term) {
  const tip = term.querySelector(".tip");
  tip.style.cssText = "position: fixed; left: 0; top: 0; bottom: auto; right: auto; transform: none";
  const word = term.getBoundingClientRect();
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const below = word.bottom + height < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(word.left, document.documentElement.clientWidth - width - 8))}px`;
  tip.style.top = `${below ? word.bottom : Math.max(0, word.top - height)}px`;
}
function hushTips() { for (const term of document.querySelectorAll(".term")) term.classList.add("hushed"); }
for (const name of ["pointerover", "focusin"]) {
  document.addEventListener(name, ({ target }) => {
    const term = target.closest?.(".term");
    if (!term || (name === "pointerover" && target.closest(".tip"))) return;
    term.classList.remove("hushed");
    placeTip(term);
  });
}
document.addEventListener("click", (event) => event.target.closest(".word")?.focus()); // Safari does not by itself
addEventListener("scroll", () => {
  for (const tip of document.querySelectorAll(".term:hover .tip, .word:focus + .tip")) placeTip(tip.parentElement);
}, { passive: true, capture: true });
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !document.querySelector(".term:not(.hushed):hover, .term:not(.hushed) .word:focus")) return;
  hushTips();
  event.preventDefault(); // of what lies beneath, a dialog stays open
});

// Marks on labels stay in the browser until they are taken as a table.
const marking = document.querySelector("form[data-marks]");
if (marking) {
  const place = `kvasir marks ${marking.dataset.marks}`;
  const read = () => { try { return JSON.parse(localStorage.getItem(place)) ?? {}; } catch { return {}; } };
  const selects = [...marking.querySelectorAll("[data-mark]")];
  const tell = () => {
    const count = Object.keys(read()).length;
    marking.querySelector("[data-marked]").textContent = count ? `${count} image${count === 1 ? "" : "s"} marked` : "";
    marking.querySelector("[data-unmark]").hidden = !count;
  };
  const show = () => { const marks = read(); for (const select of selects) select.value = marks[select.name] ?? ""; tell(); };
  const write = (marks) => { try { localStorage.setItem(place, JSON.stringify(marks)); } catch { /* the form alone has them */ } };
  for (const select of selects) {
    select.addEventListener("change", () => {
      const { [select.name]: before, ...marks } = read();
      write(select.value ? { ...marks, [select.name]: select.value } : marks);
      for (const other of selects) if (other.name === select.name) other.value = select.value;
      tell();
    });
  }
  marking.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of Object.entries(read())) formData.set(name, value);
  });
  marking.querySelector("[data-unmark]").addEventListener("click", () => { write({}); show(); });
  addEventListener("pageshow", show);
}

// A running evaluation shows how far it is.
const job = document.querySelector("[data-job]");
if (job) {
  const meter = job.querySelector("progress");
  const words = job.querySelector("[data-share]");
  const timer = setInterval(async () => {
    try {
      const state = await (await fetch(job.dataset.job)).json();
      if (state.state !== "running") { clearInterval(timer); location.assign(location.href); return; }
      meter.value = state.progress;
      words.textContent = `${Math.round(state.progress * 100)} %`;
    } catch { /* the next turn tries again */ }
  }, 1000);
}
