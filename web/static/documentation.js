// Operations can be tried: what is filled in is sent, and what comes back is shown.
const SHOWN = 20_000; // characters of an answer

function opened() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", opened);
opened();

function request(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  for (const { name, value, dataset: { place } } of form.querySelectorAll("[data-place]")) {
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value) query.append(name, value);
  }
  if ("options" in form.dataset) {
    for (const { name, value } of document.getElementById("trial").elements) if (value) query.append(name, value);
  }
  const headers = {};
  const key = document.getElementById("key").value;
  if (key) headers.Authorization = `Bearer ${key}`;
  let body;
  const files = form.querySelector('input[type="file"]')?.files ?? [];
  const json = form.querySelector("textarea")?.value.trim();
  if (files.length) {
    body = new FormData();
    for (const file of files) body.append("image", file);
  } else if (json) {
    body = json;
    headers["Content-Type"] = "application/json";
  }
  return [query.size ? `${path}?${query}` : path, { method: form.dataset.method, headers, body }];
}

async function shown(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (type.startsWith("image/")) {
    return Object.assign(new Image(), { src: URL.createObjectURL(await response.blob()), alt: "The picture that came back" });
  }
  let text = await response.text();
  if (type.includes("json") && text) text = JSON.stringify(JSON.parse(text), null, 1);
  const lines = document.createElement("pre");
  lines.tabIndex = 0;
  lines.setAttribute("role", "region");
  lines.setAttribute("aria-label", "The answer's body");
  lines.textContent = text.length > SHOWN ? `${text.slice(0, SHOWN)}\n… ${(text.length - SHOWN).toLocaleString()} characters more` : text;
  return lines;
}

for (const form of document.querySelectorAll("form[data-try]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = form.querySelector(".response");
    const line = document.createElement("p");
    answer.hidden = false;
    answer.replaceChildren(line);
    const [address, options] = request(form);
    line.textContent = `${options.method} ${address} …`;
    try {
      const response = await fetch(address, options);
      line.textContent = `${options.method} ${address}: ${response.status}`;
      answer.append(await shown(response));
    } catch {
      line.textContent = "The server does not answer.";
    }
  });
}
