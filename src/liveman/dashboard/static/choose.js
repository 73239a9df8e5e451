/** The page that asks which stream to publish: it goes on to that stream's, with the token. */

document.getElementById("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = new FormData(event.target).get("stream");
  location.assign(new URL(encodeURIComponent(name), new URL(event.target.action)).href + location.hash);
});
