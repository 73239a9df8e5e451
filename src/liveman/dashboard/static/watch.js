/** The page that plays one stream. */

import { byId, showState, showStats, tokenInFragment } from "./showing.js";
import { watch } from "./whep.js";

const player = byId("player");
const video = byId("video");
const endpoint = new URL(player.dataset.endpoint, document.baseURI).href;

document.documentElement.classList.toggle("framed", window.top !== window);

const viewer = watch({
  endpoint,
  token: tokenInFragment(),
  onMedia(media) {
    video.srcObject = media;
    play();
  },
  onState(state) {
    player.dataset.is = state.is;
    showState(state);
  },
  onStats(stats) {
    if (!byId("stats").hidden) {
      showStats(byId("stats"), stats);
    }
  },
  onLayers: showLayers,
});

/** With sound; where the browser wants a gesture for that, without; else by a button. */
async function play() {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") {
      return; // The next connection's media is there already.
    }
    if (!video.muted) {
      video.muted = true;
      return play();
    }
  }
  byId("play").hidden = !video.paused;
}

function showLayers(layers) {
  const select = byId("layer");
  byId("layers").hidden = layers.length === 0;
  select.replaceChildren(...layers.map((each) => new Option(each, each)));
  select.prepend(new Option("As the server chooses", "", true, true));
  select.options[0].disabled = true;
}

function showSound() {
  byId("sound").textContent = video.muted ? "Unmute" : "Mute";
  byId("sound").classList.toggle("wanted", video.muted);
}

function showFullscreen() {
  byId("fullscreen").textContent = document.fullscreenElement ? "Leave full screen" : "Full screen";
}

byId("again").addEventListener("click", viewer.retry);
byId("play").addEventListener("click", play);
byId("sound").addEventListener("click", () => {
  video.muted = !video.muted;
  play();
});
byId("figures").addEventListener("click", ({ target }) => {
  const hidden = (byId("stats").hidden = !byId("stats").hidden);
  target.setAttribute("aria-expanded", String(!hidden));
});
byId("fullscreen").addEventListener("click", () => {
  if (document.fullscreenElement) {
    document.exitFullscreen();
  } else if (player.requestFullscreen) {
    player.requestFullscreen();
  } else {
    video.webkitEnterFullscreen?.(); // iPhones give the whole screen to videos alone.
  }
});
byId("layer").addEventListener("change", async ({ target }) => {
  try {
    await viewer.choose(target.value);
    byId("layer-problem").textContent = "";
  } catch (error) {
    byId("layer-problem").textContent = "The server did not switch.";
  }
});
video.addEventListener("volumechange", showSound);
document.addEventListener("fullscreenchange", showFullscreen);
showSound();
showFullscreen();
