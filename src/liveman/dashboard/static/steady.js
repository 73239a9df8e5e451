/** Keeps a WHIP or WHEP connection: makes it, watches over it, and makes it again when it is lost. */

import { measure } from "./meter.js";
import { connect } from "./signalling.js";
import { judge, Lost } from "./words.js";

const CONNECT_SECONDS = 20;
/** A connection that the browser has called interrupted for longer is lost. */
const INTERRUPTED_SECONDS = 1;
/** One that has lasted for so long makes the next wait short again. */
const LASTING_SECONDS = 10;
const LONGEST_WAIT = 15;
/** How often it is looked whether a stream has begun: less and less. */
const LOOK_SECONDS = [2, 5];

/**
 * @typedef {object} State
 * @property {"connecting" | "waiting" | "live" | "lost" | "refused" | "ended"} is
 * @property {string} title   What is the case, for people.
 * @property {string} text    What they can do, or what happens next.
 * @property {boolean} again   Whether `retry()` is of use.
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
      this.tell({ is: "ended", title: "Stopped", text: "", again: false });
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
    let looks = 0;
    let silent = false; // While one waits for a stream, each look for it is not worth a word.
    while (!this.ended) {
      let problem;
      let lasted = 0;
      if (!silent) {
        this.tell({
          is: "connecting",
          title: wasLive ? "Connecting again" : "Connecting",
          text: "",
          again: false,
        });
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
      const known = { kind, hasToken: Boolean(token), wasLive };
      const { wait, ...verdict } = judge(problem ?? new Lost(), known);
      this.tell({ ...verdict, again: true });
      looks = wait === "look" ? looks + 1 : 0;
      silent = looks > 0;
      const seconds = { look: lookAfter(looks), backoff: backOff(tries) }[wait] ?? wait;
      tries += wait === "backoff";
      await this.pause(seconds && seconds * (0.8 + 0.4 * Math.random()));
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
      this.tell({ is: "live", title: "Live", text: "", again: false });
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

  /** Until `retry()`, but no longer than so many seconds. */
  pause(seconds) {
    return new Promise((resolve) => {
      this.hurry = resolve;
      if (seconds !== null) {
        setTimeout(resolve, seconds * 1000);
      }
    });
  }
}

const backOff = (tries) => Math.min(LONGEST_WAIT, 0.5 * 2 ** tries);
const lookAfter = (looks) => Math.min(LOOK_SECONDS[1], LOOK_SECONDS[0] + looks / 20);

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
    const state = hungUp(peer) ? "closed" : peer.connectionState;
    since = state === "disconnected" ? (since ?? Date.now()) : null;
    if (["failed", "closed"].includes(state) || (since && Date.now() - since > INTERRUPTED_SECONDS * 1000)) {
      drop(new Lost());
    }
  };
  peer.addEventListener("connectionstatechange", look);
  timers.push(setInterval(look, 500));
}

/** Whether the other side has closed it; Firefox calls such a peer connected for some seconds more. */
function hungUp(peer) {
  const transports = [...peer.getSenders(), ...peer.getReceivers()].flatMap(({ transport }) => transport ?? []);
  return transports.length > 0 && transports.every(({ state }) => state === "closed");
}
