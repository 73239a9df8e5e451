// Browsers keep the cookie back when a link of another site leads here, so that who is logged in looks like
// nobody. A request from this page shows it.

const form = document.getElementById("login");
const root = new URL(document.documentElement.dataset.root, location.href);
const next = new URL(form.elements.next.value.slice(1), root);

if (!document.getElementById("problem")) {
  // Of the overview: what comes next may be open to everyone, and a login may see all.
  const response = await fetch(root, { method: "HEAD", headers: { Accept: "text/html" }, redirect: "manual", cache: "no-store" });
  if (response.ok) location.replace(next);
}
