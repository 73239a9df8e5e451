/**
 * The signalling that WHIP (RFC 9725) and WHEP share: an offer is posted, the session that it makes is
 * patched with candidates and deleted at the end. A token goes into the header Authorization alone.
 */

/** The endpoint refused: `status` is HTTP's, `detail` its own words, `retryAfter` seconds or null. */
export class Refusal extends Error {
  name = "Refusal";

  constructor(status, detail, retryAfter) {
    super(`${status} ${detail}`);
    Object.assign(this, { status, detail, retryAfter });
  }
}

/** The endpoint gave no answer at all. */
export class Unreachable extends Error {
  name = "Unreachable";
}

/**
 * The links of a Link field (RFC 8288), of which fetch gives all in one text.
 * @param {string | null} field
 * @returns {{target: string, rel: string[], params: Record<string, string>}[]}
 */
export function parseLinks(field) {
  const links = [];
  for (const [, target, rest] of (field ?? "").matchAll(LINK)) {
    const params = {};
    for (const [, name, quoted, bare] of rest.matchAll(PARAM)) {
      params[name.toLowerCase()] ??= quoted?.replace(/\\(.)/g, "$1") ?? bare ?? "";
    }
    links.push({ target, rel: (params.rel ?? "").toLowerCase().split(/\s+/).filter(Boolean), params });
  }
  return links;
}

const LINK = /<([^>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:"(?:\\.|[^"\\])*"|[^\s;,"]*))?)*)/g;
const PARAM = /;\s*([^\s=;,]+)(?:\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s;,"]*)))?/g;

/**
 * The ICE servers that an answer offers, as RTCPeerConnection takes them, one for each url.
 * @returns {RTCIceServer[]}
 */
export function iceServers(links) {
  return links
    .filter(({ rel }) => rel.includes("ice-server"))
    .map(({ target, params: { username, credential } }) => ({
      urls: target,
      ...(username && { username, credential }),
    }));
}

/**
 * Ask an endpoint for the ICE servers that it offers, without making a session.
 * @returns {Promise<RTCIceServer[]>}
 */
export async function offeredServers(endpoint, token = "") {
  const answer = await ask(endpoint, "OPTIONS", token, {});
  return iceServers(parseLinks(answer.headers.get("Link")));
}

/**
 * Offer what `peer` has, and connect it. The offer is posted without candidates, so that they are gathered
 * with the ICE servers that come with the answer; they follow one after another.
 * @param {RTCPeerConnection} peer
 * @param {{endpoint: string, token?: string, signal?: AbortSignal}} where
 * @returns {Promise<Session>}
 */
export async function connect(peer, { endpoint, token = "", signal }) {
  const offer = await peer.createOffer();
  const headers = { "Content-Type": "application/sdp" };
  const answer = await ask(endpoint, "POST", token, { headers, body: offer.sdp, signal });
  const sdp = await answer.text();
  const location = answer.headers.get("Location");
  if (answer.status !== 201 || !location) {
    throw new Refusal(answer.status, "The answer makes no session.", null);
  }
  const links = parseLinks(answer.headers.get("Link"));
  const session = new Session(new URL(location, answer.url).href, token, links, answer.headers.get("ETag"));
  try {
    const servers = iceServers(links);
    if (servers.length) {
      peer.setConfiguration({ ...peer.getConfiguration(), iceServers: servers });
    }
    session.trickle(peer);
    await peer.setLocalDescription(offer);
    await peer.setRemoteDescription({ type: "answer", sdp });
  } catch (error) {
    session.leave();
    throw error;
  }
  return session;
}

/** What an offer has made at the endpoint. */
export class Session {
  constructor(url, token, links, etag) {
    Object.assign(this, { url, token, links, etag });
    this.ended = false;
  }

  /** Tell the endpoint the candidates of `peer` as they are found. */
  trickle(peer) {
    let found = [];
    let last = Promise.resolve();
    const send = () => {
      const candidates = found;
      found = [];
      last = last.then(() => this.add(candidates, peer.localDescription.sdp));
    };
    peer.addEventListener("icecandidate", ({ candidate }) => {
      if (candidate?.candidate && found.push(candidate) === 1) {
        setTimeout(send, TOGETHER_MS);
      }
    });
  }

  /** An endpoint that takes no candidates finds this side by its connectivity checks. */
  async add(candidates, sdp) {
    if (this.ended) {
      return;
    }
    const body = fragment(sdp, candidates);
    const headers = { "Content-Type": "application/trickle-ice-sdpfrag" };
    if (this.etag) {
      headers["If-Match"] = this.etag;
    }
    await ask(this.url, "PATCH", this.token, { headers, body }).catch(() => {});
  }

  /** End it, also while the page goes away. */
  leave() {
    if (!this.ended) {
      this.ended = true;
      ask(this.url, "DELETE", this.token, { keepalive: true }).catch(() => {});
    }
  }

  /** Where the layers of a simulcast are chosen (WHEP); null where there is no choice. */
  get layers() {
    const link = this.links.find(({ rel }) => rel.includes("urn:ietf:params:whep:ext:core:layer"));
    return link ? new URL(link.target, this.url).href : null;
  }
}

const TOGETHER_MS = 20;

/** Candidates as an SDP fragment (RFC 8840, section 4.4.1). */
export function fragment(sdp, candidates) {
  const lines = sdp.split(/\r?\n/);
  const media = lines.filter((line) => line.startsWith("m="));
  const once = (name) => lines.find((line) => line.startsWith(name));
  const parts = [once("a=ice-ufrag:"), once("a=ice-pwd:")];
  for (const mid of new Set(candidates.map(({ sdpMid }) => sdpMid))) {
    const those = candidates.filter(({ sdpMid }) => sdpMid === mid);
    parts.push(media[those[0].sdpMLineIndex ?? 0], `a=mid:${mid}`);
    parts.push(...those.map(({ candidate }) => `a=${candidate}`));
  }
  return parts.map((line) => `${line}\r\n`).join("");
}

/**
 * A request; gives an answer of 2xx.
 * @throws {Refusal | Unreachable | DOMException}
 */
export async function ask(url, method, token, { headers = {}, ...more }) {
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  let answer;
  try {
    answer = await fetch(url, { method, headers, cache: "no-store", ...more });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable(error.message);
  }
  if (!answer.ok) {
    throw new Refusal(answer.status, await words(answer), Number(answer.headers.get("Retry-After")) || null);
  }
  return answer;
}

/** What a refusal says: a problem's detail (RFC 9457), else its beginning. */
async function words(answer) {
  const text = await answer.text().catch(() => "");
  try {
    return String(JSON.parse(text).detail ?? "");
  } catch {
    return text.slice(0, 300).trim();
  }
}
