// Shows a token that was made, once, with the texts to use it. It is in no address, and kept nowhere.

import { copy } from "./clipboard.js";

const form = document.getElementById("make");
const result = document.getElementById("result");
const revoke = document.getElementById("revoke");
const root = new URL(document.documentElement.dataset.root, location.href);
const by = (id) => document.getElementById(id);

/** The last one, as long as the page is open. */
let made = { token: "", claims: {} };

form.addEventListener("input", prepare);
form.addEventListener("done", (event) => show(event.detail.access_token));
revoke.addEventListener("input", aim);
revoke.addEventListener("done", forget);
result.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button) copy(by(button.dataset.copy));
});
by("name").addEventListener("input", fill);
prepare();

/** The fields that are sent, from those that are filled in. */
function prepare() {
  const { id, duration, subscribe, publish, admin } = form.elements;
  if (by("all").checked) {
    if (!id.readOnly) id.dataset.before = id.value;
    id.value = "*";
  } else if (id.readOnly) {
    id.value = id.dataset.before;
  }
  id.readOnly = by("all").checked;
  duration.value = String(Math.round(by("life").value * by("unit").value));
  const something = [subscribe, publish, admin].some((each) => each?.checked);
  admin.setCustomValidity(something ? "" : "The token would permit nothing: tick what it may do.");
}

function show(token) {
  const claims = claimsOf(token);
  made = { token, claims };
  by("token").textContent = token;
  by("jti").textContent = claims.jti;
  by("ends").textContent = new Date(claims.exp * 1000).toLocaleString();
  by("naming").hidden = claims.id !== "*";
  by("name").value = "";
  result.hidden = false;
  fill();
  result.focus({ preventScroll: true });
  result.scrollIntoView({ block: "start" });
  by("id").value = claims.jti;
  aim();
}

function forget() {
  if (revoke.dataset.aim === made.claims.jti) {
    made = { token: "", claims: {} };
    by("token").textContent = "";
    by("texts").replaceChildren();
    result.hidden = true;
  }
  by("id").value = "";
}

/** The texts, made anew from their templates. */
function fill() {
  const { token, claims } = made;
  const stream = claims.id === "*" ? by("name").value || "STREAM" : claims.id;
  const words = addresses(stream, token);
  const texts = by("snippets").content.cloneNode(true);
  for (const each of texts.querySelectorAll("[data-text]")) {
    each.textContent = each.textContent.replace(/\{(\w+)\}/g, (all, word) => words[word] ?? all);
  }
  for (const each of texts.querySelectorAll("[data-link]")) each.href = words[each.dataset.link];
  const permitted = { watch: claims.mode & 4, publish: claims.mode & 2 };
  for (const each of texts.querySelectorAll("[data-needs]")) {
    if (!permitted[each.dataset.needs]) each.remove();
  }
  by("texts").replaceChildren(texts);
  if (permitted.watch) draw(by("qr"), words.watch);
}

function addresses(stream, token) {
  // Also what a shell would read otherwise.
  const name = encodeURIComponent(stream).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const at = (path) => new URL(path, root).href;
  return {
    token,
    whip: at(`whip/${name}`),
    whep: at(`whep/${name}`),
    watch: at(`watch/${name}#token=${token}`),
    publish: at(`publish/${name}#token=${token}`),
  };
}

/** The code of a link, as a picture made here: the token goes to nobody for it. */
async function draw(box, link) {
  let encode;
  try {
    ({ encode } = await import("./qr.js"));
  } catch {
    box.textContent = "For a QR code of this link, run make dashboard in Liveman’s folder.";
    return;
  }
  const { size, data } = encode(link, { ecc: "L", border: 4 });
  const dark = data.flatMap((row, y) => row.flatMap((is, x) => (is ? `M${x} ${y}h1v1h-1z` : [])));
  const picture = svg("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "shape-rendering": "crispEdges" });
  picture.setAttribute("aria-label", "QR code of the link to watch");
  picture.append(svg("rect", { width: size, height: size, fill: "#fff" }), svg("path", { d: dark.join("") }));
  box.replaceChildren(picture);
}

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Let the form revoke what is named in it. A token that stands there does not leave this page. */
async function aim() {
  const field = by("id");
  const id = await idOf(field.value.trim());
  field.setCustomValidity(id ? "" : "Give the id of a token, or the token.");
  revoke.dataset.aim = id;
  revoke.setAttribute("action", new URL(`api/tokens/${encodeURIComponent(id)}`, root).href);
}

/** "": it is neither an id nor a token whose id can be made out here. */
async function idOf(text) {
  if (text.split(".").length !== 3) return text;
  const { jti } = claimsOf(text);
  // One without an id goes by a digest of what is signed, which browsers compute over HTTPS alone.
  if (jti || !crypto.subtle) return jti ?? "";
  const data = new TextEncoder().encode(text.slice(0, text.lastIndexOf(".")));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return [...digest.slice(0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What a token says; {} for what is none. */
function claimsOf(token) {
  try {
    const data = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(data, (c) => c.charCodeAt(0))));
  } catch {
    return {};
  }
}
