// Keeps a page up to date: its own URL is also its event stream. Nothing is asked for while nobody sees it.

import { morph } from "./morph.js";
import { said, say } from "./status.js";

const LOST = "Connection lost, trying again…";
// The server says something every 15 s.
const SILENCE_MS = 40_000;

const place = document.getElementById("live");
let last = "";
let failures = 0;
let current = null;
let retry = 0;

function show(id, data) {
  const { html, title } = JSON.parse(data);
  const wanted = document.createElement("template");
  wanted.innerHTML = html;
  if (document.title !== title) document.title = plain(title);
  const begun = performance.now();
  morph(place, wanted.content);
  last = id;
  place.dispatchEvent(new CustomEvent("live", { detail: { milliseconds: performance.now() - begun } }));
}

function plain(html) {
  const element = document.createElement("textarea");
  element.innerHTML = html;
  return element.value;
}

async function follow(signal) {
  const response = await within(fetch(location.href, {
    headers: { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) },
    redirect: "manual",
    cache: "no-store",
    signal,
  }));
  // It is to log in first; or it has gone, or may not be seen any more: the page itself leads there, or says so.
  if (response.type === "opaqueredirect" || (response.status >= 400 && response.status < 500)) return location.reload();
  if (!response.ok) throw new Error(`status ${response.status}`);
  failures = 0;
  if (said() === LOST) say("Connected again.");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await within(reader.read());
    if (done) throw new Error("the stream has ended");
    held += value;
    for (let end = held.indexOf("\n\n"); end >= 0; end = held.indexOf("\n\n")) {
      event(held.slice(0, end));
      held = held.slice(end + 2);
    }
  }
}

function event(text) {
  const fields = Object.fromEntries(text.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  if (fields.event === "live") show(fields.id, fields.data);
}

function within(asking) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("nothing comes")), SILENCE_MS);
  });
  return Promise.race([asking, late]).finally(() => clearTimeout(timer));
}

function begin() {
  clearTimeout(retry);
  if (current || document.hidden) return;
  const controller = (current = new AbortController());
  follow(controller.signal).catch(() => {
    if (current !== controller) return;
    controller.abort();
    current = null;
    failures += 1;
    // A server that is started again is back at once.
    if (failures > 1) say(LOST, "bad");
    retry = setTimeout(begin, Math.min(10_000, 500 * 2 ** (failures - 1)) * (0.75 + Math.random() / 4));
  });
}

function pause() {
  clearTimeout(retry);
  current?.abort();
  current = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? pause() : begin()));
addEventListener("pagehide", pause);
addEventListener("pageshow", begin);
addEventListener("online", begin);
begin();
