// Browsers keep the cookie back when a link of another site leads here, so that who is logged in looks like
// nobody. A request from this page shows it.

const root = new URL(document.documentElement.dataset.root, location.href);
const next = new URL(document.querySelector("input[name=next]").value.slice(1), root);

if (!document.getElementById("problem")) {
  // Of the overview: what comes next may be open to everyone, and a login may see all.
  const response = await fetch(root, { method: "HEAD", headers: { Accept: "text/html" }, redirect: "manual", cache: "no-store" });
  // 403: who is known, but may see one stream alone.
  if (response.ok || response.status === 403) location.replace(next);
}
