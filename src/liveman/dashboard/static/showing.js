/** What the pages for watching and publishing share: the token, the state, the figures. */

import { rows } from "./meter.js";

/** The token in the URL's fragment, which no server is sent: `#token=…`; "" when there is none. */
export function tokenInFragment(fragment = location.hash) {
  const found = /(?:^#|&)token=([^&]*)/.exec(fragment)?.[1] ?? "";
  try {
    return decodeURIComponent(found);
  } catch {
    return found;
  }
}

export const byId = (id) => document.getElementById(id);

const token = tokenInFragment();

/** A page that is opened with another token starts anew. */
addEventListener("hashchange", () => {
  if (![token, ""].includes(tokenInFragment())) {
    location.reload();
  }
});

// Else it would take the token's place in the URL.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});

/** Says a state in the elements `state`, `state-title`, `state-text`, `again` and `login`. */
export function showState({ is, title, text, again, status }) {
  byId("state").dataset.is = is;
  byId("state-title").textContent = title;
  byId("state-text").textContent = text;
  byId("again").hidden = !again;
  byId("login").hidden = status !== 401 || window.top !== window;
}

/** Puts the figures into a `<dl>`. */
export function showStats(list, stats) {
  const shown = rows(stats);
  while (list.children.length < shown.length) {
    const row = document.createElement("div");
    row.append(document.createElement("dt"), document.createElement("dd"));
    list.append(row);
  }
  shown.forEach(([name, value], at) => {
    const [dt, dd] = list.children[at].children;
    dt.textContent = name;
    dd.textContent = value;
  });
}
