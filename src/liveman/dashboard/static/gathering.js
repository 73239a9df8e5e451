/** Tests ICE servers from this browser: gathers candidates with each alone, and says what came of it. */

const LIMIT_SECONDS = 10;

/**
 * @typedef {object} Finding
 * @property {"host" | "stun" | "turn"} kind
 * @property {string} url   Of the server; "" for this browser's own addresses.
 * @property {string} transport   "UDP", "TCP" or "TLS".
 * @property {boolean} works
 * @property {string} says   In words.
 * @property {{type: string, address: string, ms: number}[]} candidates
 * @property {{code: number, text: string, address: string, ms: number}[]} errors
 */

/**
 * @param {RTCIceServer | null} server   With one url; null: none, for the addresses of this browser.
 * @returns {Promise<Finding>}
 */
export async function test(server, seconds = LIMIT_SECONDS) {
  const url = server ? String(server.urls) : "";
  const kind = !server ? "host" : /^turns?:/i.test(url) ? "turn" : "stun";
  const found = { kind, url, transport: transportOf(url), candidates: [], errors: [], over: false };
  const start = performance.now();
  const ms = () => Math.round(performance.now() - start);
  let peer;
  try {
    peer = new RTCPeerConnection({
      iceServers: server ? [server] : [],
      iceTransportPolicy: kind === "turn" ? "relay" : "all",
    });
  } catch (error) {
    return { ...found, works: false, says: `The browser does not take this address: ${error.message}` };
  }
  try {
    await new Promise((resolve, reject) => {
      peer.addEventListener("icecandidate", ({ candidate }) => {
        if (candidate?.candidate) {
          const { type, protocol, address, port } = candidate;
          // Of TCP a browser's own addresses are none where it could be reached.
          if (type !== "host" || protocol === "udp") {
            found.candidates.push({ type, address: `${address}:${port}`, ms: ms() });
          }
          if (kind !== "host" && type === WANTED[kind]) {
            resolve();
          }
        }
      });
      peer.addEventListener("icecandidateerror", ({ errorCode, errorText, address, port }) => {
        found.errors.push({
          code: errorCode,
          text: errorText,
          address: address ? `${address}:${port}` : "",
          ms: ms(),
        });
      });
      peer.addEventListener("icegatheringstatechange", () => {
        if (peer.iceGatheringState === "complete") {
          found.over = true;
          resolve();
        }
      });
      peer.createDataChannel("test");
      peer.setLocalDescription().catch(reject);
      setTimeout(resolve, seconds * 1000);
    });
  } finally {
    peer.close();
  }
  return { ...found, ...judge(found, seconds) };
}

const WANTED = { host: "host", stun: "srflx", turn: "relay" };

/** Whether a server works, and why not. Pure. */
export function judge({ kind, transport, candidates, errors, over }, seconds) {
  const wanted = candidates.find(({ type }) => type === WANTED[kind]);
  if (wanted) {
    return { works: true, says: GOOD[kind](wanted, candidates) };
  }
  const worst = [...errors].sort((a, b) => rank(a) - rank(b))[0];
  if (kind === "stun" && over && !worst) {
    return { works: true, says: "Works: no other address than this browser's own is seen from there." };
  }
  if (kind === "host") {
    return { works: false, says: "This browser offers no address; an extension or a policy may forbid it." };
  }
  if (!worst) {
    return {
      works: false,
      says: over
        ? `Fails: the browser got nothing from it by ${transport}. Does it listen at this port?`
        : `Fails: no answer within ${seconds} s. Is the address right, and may ${transport} pass the firewall?`,
    };
  }
  const why = /lookup/i.test(worst.text) ? "its name is not known. Is it spelled right?" : BAD[worst.code];
  return { works: false, says: `Fails: ${why ?? "it answers with an error."} (${worst.code} ${worst.text})` };
}

// An answer of the server tells more than its silence.
const rank = ({ code }) => (code === 701 ? 1 : 0);

const GOOD = {
  host: (_, all) => `In its own network this browser has ${all.map(({ address }) => address).join(", ")}.`,
  stun: ({ address, ms }) => `Works: seen from there as ${address}, after ${ms} ms.`,
  turn: ({ address, ms }) => `Works: media can be relayed by ${address}, after ${ms} ms.`,
};

/** STUN's error codes (RFC 8489, RFC 8656), and 701, which is the browser's. */
const BAD = {
  300: "it wants another server to be asked.",
  400: "it does not understand the browser.",
  401: "it refuses the username and credential. Do Liveman and the server share one secret?",
  403: "it forbids to relay.",
  437: "it has mixed this browser up with another.",
  438: "the credentials have expired. Are the clocks of both machines right?",
  441: "it refuses the username and credential.",
  486: "it has no more allocations for this user.",
  508: "it has no more ports or bandwidth to give.",
  701: "it cannot be reached. Is the address right, is it running, and does a firewall let this through?",
};

function transportOf(url) {
  if (/^(turns|stuns):/i.test(url)) {
    return "TLS";
  }
  return /[?&]transport=tcp\b/i.test(url) ? "TCP" : "UDP";
}
