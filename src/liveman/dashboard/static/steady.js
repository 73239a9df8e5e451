/** Keeps a WHIP or WHEP connection: makes it, watches over it, and makes it again when it is lost. */

import { measure } from "./meter.js";
import { connect } from "./signalling.js";
import { judge, Lost } from "./words.js";

const CONNECT_SECONDS = 20;
/** A connection that is interrupted for longer is lost. */
const INTERRUPTED_SECONDS = 3;
/** One that has lasted for so long makes the next wait short again. */
const LASTING_SECONDS = 10;
const LONGEST_WAIT = 15;

/**
 * @typedef {object} State
 * @property {"connecting" | "waiting" | "live" | "lost" | "refused" | "ended"} is
 * @property {string} title   What is the case, for people.
 * @property {string} text    What they can do, or what happens next.
 * @property {number | null} wait   Seconds until the next try; null: there is none before `retry()`.
 * @property {number} [status]   With which the server refused.
 */

export class Steady {
  /**
   * @param {object} how
   * @param {"whip" | "whep"} how.kind
   * @param {string} how.endpoint
   * @param {string} [how.token]
   * @param {() => RTCPeerConnection} how.make   Makes a peer with all that it sends or receives.
   * @param {(state: State) => void} [how.onState]
   * @param {(stats: object, peer: RTCPeerConnection) => void} [how.onStats]   Once a second while it is live;
   *   what it throws ends the connection, and another is made.
   * @param {(session: object, peer: RTCPeerConnection) => void} [how.onLive]
   */
  constructor(how) {
    this.how = { token: "", onState() {}, onStats() {}, onLive() {}, ...how };
    this.ended = false;
    this.leave = () => this.session?.leave();
    this.retry = this.retry.bind(this);
    addEventListener("pagehide", this.leave);
    addEventListener("online", this.retry);
    this.run();
  }

  /** Try now. */
  retry() {
    this.hurry?.();
  }

  /** Leave for good. */
  stop() {
    if (!this.ended) {
      this.ended = true;
      removeEventListener("pagehide", this.leave);
      removeEventListener("online", this.retry);
      this.drop?.(new Lost());
      this.hurry?.();
      this.tell({ is: "ended", title: "Stopped", text: "", wait: null });
    }
  }

  /** Say how it is, unless that was said already. */
  tell(state) {
    if (JSON.stringify(state) !== this.told) {
      this.told = JSON.stringify(state);
      this.how.onState(state);
    }
  }

  async run() {
    const { kind, token } = this.how;
    let tries = 0;
    let wasLive = false;
    let silent = false; // While one waits for a stream, each look for it is not worth a word.
    while (!this.ended) {
      let problem;
      let lasted = 0;
      if (!silent) {
        this.tell({ is: "connecting", title: wasLive ? "Connecting again" : "Connecting", text: "", wait: null });
      }
      try {
        lasted = await this.once();
      } catch (error) {
        problem = error;
      }
      if (this.ended) {
        return;
      }
      wasLive ||= lasted > 0;
      tries = lasted > LASTING_SECONDS ? 0 : tries;
      const { wait: told, ...verdict } = judge(problem ?? new Lost(), { kind, hasToken: Boolean(token), wasLive });
      const wait = told === "backoff" ? Math.min(LONGEST_WAIT, 0.5 * 2 ** tries++) : told;
      silent = verdict.is === "waiting";
      this.tell({ ...verdict, wait });
      await this.pause(wait === null ? null : wait * (0.8 + 0.4 * Math.random()));
    }
  }

  /** One connection, from its offer to its end; how long it was live, seconds. */
  async once() {
    const { endpoint, token, make, onStats, onLive } = this.how;
    const abort = new AbortController();
    const end = new Promise((_, reject) => {
      this.drop = (error) => {
        abort.abort();
        reject(error);
      };
    });
    end.catch(() => {});
    const timers = [];
    const peer = make();
    let since = 0;
    try {
      this.session = await connect(peer, { endpoint, token, signal: abort.signal });
      if (this.ended) {
        return 0;
      }
      await Promise.race([end, connected(peer)]);
      since = Date.now();
      this.tell({ is: "live", title: "Live", text: "", wait: null });
      onLive(this.session, peer);
      watchOver(peer, this.drop, timers);
      let before;
      timers.push(
        setInterval(async () => {
          try {
            before = measure(await peer.getStats(), before);
            onStats(before, peer);
          } catch (error) {
            this.drop(error);
          }
        }, 1000),
      );
      await end;
    } catch (error) {
      if (!since) {
        throw error;
      }
    } finally {
      timers.forEach(clearInterval);
      this.session?.leave();
      this.session = this.drop = null;
      peer.close();
    }
    return (Date.now() - since) / 1000;
  }

  pause(seconds) {
    return new Promise((resolve) => {
      this.hurry = resolve;
      if (seconds !== null) {
        setTimeout(resolve, seconds * 1000);
      }
    });
  }
}

function connected(peer) {
  return new Promise((resolve, reject) => {
    const look = () => {
      if (peer.connectionState === "connected") {
        resolve();
      } else if (["failed", "closed"].includes(peer.connectionState)) {
        reject(new Lost("unconnected"));
      }
    };
    peer.addEventListener("connectionstatechange", look);
    setTimeout(() => reject(new Lost("unconnected")), CONNECT_SECONDS * 1000);
    look();
  });
}

function watchOver(peer, drop, timers) {
  let since = null;
  const look = () => {
    const state = peer.connectionState;
    since = state === "disconnected" ? (since ?? Date.now()) : null;
    if (["failed", "closed"].includes(state) || (since && Date.now() - since > INTERRUPTED_SECONDS * 1000)) {
      drop(new Lost());
    }
  };
  peer.addEventListener("connectionstatechange", look);
  timers.push(setInterval(look, 500));
}
