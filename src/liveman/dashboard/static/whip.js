/**
 * A WHIP publisher, connected again by itself.
 *
 *     import { publish } from "./whip.js";
 *     const media = await navigator.mediaDevices.getUserMedia({ video: true });
 *     const publisher = publish({ endpoint: "/whip/cam", media });
 *     publisher.stop();
 */

import { Steady } from "./steady.js";

/**
 * @param {object} how
 * @param {string} how.endpoint
 * @param {string} [how.token]
 * @param {MediaStream} how.media
 * @param {string} [how.codec]   The video codec to offer first, such as "video/H264".
 * @param {number} [how.maxBitrate]   Of the video, bits per second.
 * @param {(state: import("./steady.js").State) => void} [how.onState]
 * @param {(stats: object) => void} [how.onStats]
 */
export function publish({ media, codec = "", maxBitrate = 0, ...where }) {
  return new Steady({
    ...where,
    kind: "whip",
    make() {
      const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
      for (const track of media.getTracks()) {
        const limits = track.kind === "video" && maxBitrate ? { sendEncodings: [{ maxBitrate }] } : {};
        const transceiver = peer.addTransceiver(track, {
          direction: "sendonly",
          streams: [media],
          ...limits,
        });
        if (track.kind === "video" && codec) {
          transceiver.setCodecPreferences(preferring(codec));
        }
      }
      return peer;
    },
  });
}

/** The names of the video codecs that this browser can send, such as "video/VP8"; none without WebRTC. */
export function videoCodecs() {
  const codecs = globalThis.RTCRtpSender?.getCapabilities("video")?.codecs ?? [];
  return [...new Set(codecs.map(({ mimeType }) => mimeType))].filter((each) => !HELPERS.test(each));
}

const HELPERS = /\/(rtx|red|ulpfec|flexfec.*)$/i;

function preferring(codec) {
  const { codecs } = RTCRtpSender.getCapabilities("video");
  const rank = ({ mimeType }) => (mimeType === codec ? 0 : 1);
  return codecs.sort((a, b) => rank(a) - rank(b));
}
