// The one line at the bottom that says what has happened, and the way to the login.

const place = document.getElementById("status");
let timer = 0;

/** Say something; "bad" things stay until something else is said, others go after some seconds. */
export function say(text, kind = "") {
  clearTimeout(timer);
  place.textContent = text;
  place.className = kind;
  if (text && kind !== "bad") timer = setTimeout(() => say(""), 4000);
}

/** What is said now. */
export function said() {
  return place.textContent;
}

/** Log in, and come back here. */
export function logIn() {
  const root = new URL(document.documentElement.dataset.root, location.href);
  const here = location.pathname.slice(root.pathname.length - 1) + location.search;
  location.assign(new URL("login?next=" + encodeURIComponent(here), root));
}
