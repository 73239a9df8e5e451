/** The page that publishes one stream. */

import { capture } from "./capture.js";
import { copy } from "./clipboard.js";
import { byId, showState, showStats, tokenInFragment } from "./showing.js";
import { publish, videoCodecs } from "./whip.js";
import { explainCapture } from "./words.js";

const form = byId("publish");
const choices = byId("choices");
const preview = byId("preview");
const absolute = (address) => new URL(address, document.baseURI).href;
const endpoint = absolute(form.dataset.endpoint);
let publisher = null;
let media = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (media) {
    stop();
  } else {
    start();
  }
});
byId("again").addEventListener("click", () => publisher?.retry());

async function start() {
  const asked = new FormData(form); // Before the fields are switched off.
  const source = asked.get("source");
  const [width, height] = (asked.get("size") || "").split("x").map(Number);
  busy(true);
  try {
    media = await capture(source, {
      sound: asked.has("sound"),
      ...(width && { width, height }),
      title: form.dataset.stream,
    });
  } catch (error) {
    busy(false);
    showState({
      is: "refused",
      title: "Nothing to publish",
      text: explainCapture(error, source),
      again: false,
    });
    return;
  }
  preview.srcObject = media;
  preview.play().catch(() => {});
  // As when somebody ends the sharing by the browser's own button.
  media.getVideoTracks()[0].addEventListener("ended", stop);
  publisher = publish({
    endpoint,
    token: tokenInFragment(),
    media,
    codec: asked.get("codec"),
    maxBitrate: Number(asked.get("bitrate")) * 1000,
    onState: showState,
    onStats: (stats) => showStats(byId("stats"), stats),
  });
}

function stop() {
  publisher?.stop();
  media?.getTracks().forEach((track) => track.stop());
  preview.srcObject = publisher = media = null;
  byId("stats")
    .querySelectorAll("dd")
    .forEach((each) => (each.textContent = "–"));
  busy(false);
}

function busy(is) {
  choices.disabled = is;
  byId("go").textContent = is ? "Stop" : "Start";
  byId("go").classList.toggle("danger", is);
}

for (const codec of videoCodecs()) {
  byId("codec").append(new Option(codec.replace("video/", ""), codec));
}

const address = absolute(form.dataset.watch);
byId("watch-address").value = address;
byId("watch-frame").value =
  `<iframe src="${address}" width="640" height="360" allow="autoplay; fullscreen" style="border:0"></iframe>`;
for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", () => copy(byId(button.dataset.copies)));
}
