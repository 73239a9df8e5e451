/**
 * A WHEP viewer: low latency, connected again by itself.
 *
 *     import { watch } from "./whep.js";
 *     const viewer = watch({ endpoint: "/whep/cam", onMedia: (media) => (video.srcObject = media) });
 *     viewer.stop();
 */

import { ask } from "./signalling.js";
import { Steady } from "./steady.js";
import { Lost } from "./words.js";

/** So long without a byte is told. */
const QUIET_SECONDS = 3;
/** And then taken for the end; where nothing ever came, another connection waits for longer. */
const SILENT_SECONDS = [15, 120];

/**
 * @param {object} how
 * @param {string} how.endpoint
 * @param {string} [how.token]
 * @param {(media: MediaStream) => void} how.onMedia   For each connection that is made.
 * @param {(state: import("./steady.js").State) => void} [how.onState]
 * @param {(stats: object) => void} [how.onStats]
 * @param {(layers: string[]) => void} [how.onLayers]   The layers of a simulcast; none: there is no choice.
 */
export function watch({ onMedia, onStats = () => {}, onLayers = () => {}, ...where }) {
  let quiet;
  let patience = SILENT_SECONDS[0];
  const steady = new Steady({
    ...where,
    kind: "whep",
    make() {
      const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
      const media = new MediaStream();
      for (const kind of ["video", "audio"]) {
        const { receiver } = peer.addTransceiver(kind, { direction: "recvonly" });
        receiver.jitterBufferTarget = 0; // Milliseconds.
        receiver.playoutDelayHint = 0; // Seconds; what older browsers know.
        media.addTrack(receiver.track);
      }
      onMedia(media);
      return peer;
    },
    async onLive(session) {
      quiet = { bytes: -1, seconds: 0 };
      onLayers([]);
      if (session.layers) {
        const answer = await ask(session.layers, "GET", where.token, {}).catch(() => null);
        const found = answer && (await answer.json().catch(() => null));
        onLayers(Array.isArray(found) ? found.map(({ encodingId }) => String(encodingId)) : []);
      }
    },
    onStats(stats) {
      onStats(stats);
      const bytes = (stats.video?.bytes ?? 0) + (stats.audio?.bytes ?? 0);
      quiet = bytes === quiet.bytes ? { bytes, seconds: quiet.seconds + 1 } : { bytes, seconds: 0 };
      if (quiet.seconds === QUIET_SECONDS) {
        steady.tell({
          is: "waiting",
          title: "Nothing arrives",
          text: "The publisher has paused or left. It goes on here by itself.",
          again: false,
        });
      } else if (quiet.seconds >= patience) {
        patience = bytes ? SILENT_SECONDS[0] : Math.min(SILENT_SECONDS[1], patience * 2);
        throw new Lost();
      } else if (quiet.seconds === 0) {
        steady.tell({ is: "live", title: "Live", text: "", again: false });
      }
    },
  });
  return {
    retry: steady.retry,
    stop: () => steady.stop(),
    /** Show this layer of a simulcast from now on. */
    async choose(encodingId) {
      const headers = { "Content-Type": "application/json" };
      const { layers, token } = steady.session;
      await ask(layers, "POST", token, { headers, body: JSON.stringify({ encodingId }) });
    },
  };
}
