/** What went wrong, in words for people, and whether another try is of use. Nothing here acts. */

/** A connection that ended, or (`unconnected`) was never made although the endpoint agreed. */
export class Lost extends Error {
  constructor(how = "") {
    super(how);
    this.how = how;
  }
}

/**
 * @param {Error} error
 * @param {{kind: "whip" | "whep", hasToken: boolean, wasLive: boolean}} known
 * @returns {{is: "waiting" | "lost" | "refused", title: string, text: string, status?: number,
 *   wait: number | "look" | "backoff" | null}}   `wait`: seconds; null: for ever.
 */
export function judge(error, { kind, hasToken, wasLive }) {
  if (error.name === "Refusal") {
    return { ...judgeRefusal(error, kind, hasToken, wasLive), status: error.status };
  }
  if (error.how === "unconnected") {
    return lost(
      "No way through",
      "The server answered, but no media gets through. A firewall may be in between: a TURN server helps.",
    );
  }
  if (error instanceof Lost) {
    return lost("Connection lost", "Trying again.");
  }
  if (error.name === "Unreachable") {
    return lost("The server cannot be reached", "Trying again. Is this device online?");
  }
  const why = globalThis.RTCPeerConnection
    ? error.message
    : "It has no WebRTC, or WebRTC is switched off in it. Try another browser.";
  return refused("This browser cannot do it", why);
}

function judgeRefusal({ status, detail, retryAfter }, kind, hasToken, wasLive) {
  const what = kind === "whip" ? "publish to" : "watch";
  switch (status) {
    case 401:
      return hasToken
        ? refused("The token is not accepted", "It may have expired or been revoked. Ask for a new link.")
        : refused(
            "A token is needed",
            `Open the whole link that you were given to ${what} this stream; it ends with “#token=…”.`,
          );
    case 403:
      return refused(
        hasToken ? "This token is not for this stream" : "You may not do this",
        `It does not permit to ${what} this stream. Ask for a link that does.`,
      );
    case 404:
      return kind === "whep"
        ? {
            is: "waiting",
            title: wasLive ? "The stream has ended" : "Not live yet",
            text: `It starts here by itself as soon as somebody publishes${wasLive ? " again" : ""}.`,
            wait: "look",
          }
        : refused("This stream cannot be published", detail);
    case 409:
      return wasLive
        ? lost(
            "The stream is still taken",
            "The server has not noticed the lost connection yet. Trying again.",
          )
        : refused(
            "Somebody publishes this stream already",
            "Choose another name, or wait until they have finished.",
          );
    case 429:
      return {
        ...lost("Too many requests", "Waiting for as long as the server wants."),
        wait: retryAfter ?? 5,
      };
    case 503:
      return lost("No place is free", `${detail} Trying again.`.trim());
    case 502:
    case 504:
      return lost("The media server does not answer", "Trying again.");
    default:
      return status >= 500 && (kind === "whep" || wasLive)
        ? lost("The server failed", `${detail} Trying again.`.trim())
        : refused(`The server refuses (${status})`, detail);
  }
}

const lost = (title, text) => ({ is: "lost", title, text, wait: "backoff" });
const refused = (title, text) => ({ is: "refused", title, text, wait: null });

/** Why a camera or a screen cannot be had: what getUserMedia or getDisplayMedia threw. */
export function explainCapture(error, source) {
  const thing = source === "screen" ? "screen" : "camera or microphone";
  switch (error.name) {
    case "NotAllowedError":
      return source === "screen"
        ? "Sharing the screen was not permitted. Start again and choose what to share."
        : "The camera or microphone is not permitted. Allow it beside the address, then start again.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "There is no camera or microphone. Connect one, switch the sound off, or take the test pattern.";
    case "NotReadableError":
    case "AbortError":
      return `The ${thing} cannot be read. Another program may be using it: close that, then start again.`;
    case "InsecureContextError":
      return "Browsers give cameras to pages by https or from localhost alone. The test pattern works.";
    default:
      return `The ${thing} cannot be used: ${error.message}`;
  }
}
