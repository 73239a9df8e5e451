/**
 * Plays one recording: the one that the page's address names by the path of its manifest, or by its URL, as
 * pages of the original Liveman do. A token in the fragment goes into the header Authorization alone.
 */
import { MediaPlayer } from "./dash.js";
import { byId, tokenInFragment } from "./showing.js";
import { logIn } from "./status.js";

const OBJECTS = "api/record/object/";

const box = byId("player");
const video = byId("video");
const root = new URL(document.documentElement.dataset.root, location.href);
const token = tokenInFragment();
const headers = token ? { Authorization: `Bearer ${token}` } : {};

/** What is said in words, and cannot be mended by trying again as it is. */
class Refused extends Error {}

let player;
let playing;

byId("again").addEventListener("click", () => start(video.currentTime));
byId("login").addEventListener("click", logIn);
byId("position").addEventListener("input", () => (video.currentTime = byId("position").value));
byId("newest").addEventListener("click", () => player.seekToOriginalLive());
for (const each of ["timeupdate", "progress", "durationchange"]) {
  video.addEventListener(each, follow);
}
start(0);

/** @param {number} at  From where to play, seconds. */
async function start(at) {
  say("Loading…");
  player?.destroy();
  try {
    const url = manifestUrl(box.dataset.mpd);
    await check(url);
    play(url, at);
    say("");
    tell(url);
  } catch (error) {
    fail(error instanceof Refused ? error.message : "The server cannot be reached. Check the connection.");
  }
}

/**
 * The URL of a manifest of ours. Only the part that names the object is taken from what is asked for, so
 * nothing else is ever fetched, nor a token sent elsewhere.
 */
function manifestUrl(mpd) {
  let path = mpd;
  if (/^([a-z][a-z0-9+.-]*:|\/)/i.test(mpd)) {
    const asked = URL.canParse(mpd, root) ? new URL(mpd, root) : null;
    if (asked?.origin !== root.origin) {
      throw new Refused("This page plays recordings of this server alone, and the link names another one.");
    }
    const at = asked.pathname.indexOf(`/${OBJECTS}`);
    path = at < 0 ? "" : decoded(asked.pathname.slice(at + OBJECTS.length + 1));
  }
  const segments = path.split("/");
  if (!segments.every((each) => each && each !== "." && each !== "..")) {
    throw new Refused("The link names no recording: choose one from the list of recordings.");
  }
  return new URL(OBJECTS + segments.map(encodeURIComponent).join("/"), root);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** Ask for the manifest once before the player does: its own errors say less. */
async function check(url) {
  const answer = await fetch(url, { headers });
  if (answer.ok) {
    return;
  }
  const words = {
    401: token
      ? "The token in the link is no good, or no longer."
      : "It is not known who you are: log in, or use a link with a token.",
    403: "You may not watch this stream.",
    404: "This recording is not there. It may have been deleted, or has only just begun.",
  };
  byId("login").hidden = answer.status !== 401;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(words[answer.status] ?? problem.detail ?? `The server answered ${answer.status}.`);
}

function play(url, at) {
  player = MediaPlayer().create();
  player.updateSettings({
    streaming: {
      lastBitrateCachingInfo: { enabled: false },
      lastMediaSettingsCachingInfo: { enabled: false },
      // Else a foreign host is asked for the time.
      utcSynchronization: {
        defaultTimingSource: {
          scheme: "urn:mpeg:dash:utc:http-head:2014",
          value: new URL("healthz", root).href,
        },
      },
    },
  });
  player.initialize();
  if (token) {
    player.addRequestInterceptor((request) => {
      request.headers = { ...request.headers, ...headers };
      return Promise.resolve(request);
    });
  }
  player.on("error", ({ error }) => fail(`It cannot be played any further: ${sentence(error.message)}`));
  player.setAutoPlay(true);
  player.attachView(video);
  player.attachSource(url.href, at || undefined);
  playing = url;
}

/** Where it is in a recording that still runs: as that has no end yet, browsers show none of it. */
function follow() {
  const runs = video.duration === Infinity && video.seekable.length > 0;
  byId("running").hidden = !runs;
  if (runs) {
    const position = byId("position");
    const [at, end] = [video.currentTime, video.seekable.end(0)].map(Math.floor);
    position.max = end;
    position.value = at;
    position.ariaValueText = byId("clock").value = `${clock(at)} of ${clock(end)}`;
  }
}

/** What the index knows of it, when the page was opened from a list. */
async function tell(url) {
  const { stream, day } = box.dataset;
  if (!stream || !day) {
    return;
  }
  const list = new URL(`api/playback/${encodeURIComponent(stream)}?from=${day}&to=${day}`, root);
  const answer = await fetch(list, { headers }).catch(() => null);
  const rows = answer?.ok ? await answer.json() : [];
  const path = decoded(url.pathname.slice(root.pathname.length + OBJECTS.length));
  const row = rows.find((each) => each.mpd_path === path);
  if (row && url === playing) {
    const facts = {
      began: new Date(row.start).toLocaleString(),
      lasted: row.duration_ms === null ? "still running" : clock(row.duration_ms / 1000),
      node: row.node || "not known",
    };
    for (const [name, text] of Object.entries(facts)) {
      byId(name).textContent = text;
    }
    byId("facts").hidden = false;
  }
}

function clock(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return parts.map((each, at) => (at ? String(each).padStart(2, "0") : each)).join(":");
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function say(text) {
  byId("said").textContent = text;
  byId("problem").hidden = true;
}

function fail(text) {
  byId("said").textContent = "";
  byId("why").textContent = text;
  byId("problem").hidden = false;
}
