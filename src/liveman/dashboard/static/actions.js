// Forms that do something over the JSON API: <form data-api="POST" action="…" data-then="reload|stay|<url>"
// data-confirm="…" data-done="…">. Their problems are shown beside them, their success in the status line.

import { say } from "./status.js";

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-api]");
  if (!form) return;
  event.preventDefault();
  if (form.querySelector("[aria-busy=true]")) return;
  const button = event.submitter ?? form.querySelector("button");
  if (form.dataset.confirm && !(await confirmed(form.dataset.confirm, button))) return;
  busy(button, true);
  complain(form, "");
  try {
    await act(form);
  } catch {
    complain(form, "Liveman does not answer. Check the connection, then try again.");
  } finally {
    busy(button, false);
  }
});

async function act(form) {
  const body = fields(form);
  const options = { method: form.dataset.api, headers: { Accept: "application/json" }, redirect: "manual" };
  if (body) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(form.getAttribute("action"), options);
  // The page leads to the login, and back.
  if (response.status === 401) return location.reload();
  const text = await response.text();
  const data = /\bjson\b/.test(response.headers.get("Content-Type") ?? "") ? JSON.parse(text) : null;
  if (!response.ok) return complain(form, data?.detail ?? `It failed: ${response.status} ${response.statusText}`);
  form.dispatchEvent(new CustomEvent("done", { bubbles: true, detail: data }));
  const then = form.dataset.then ?? "stay";
  if (then === "reload") location.reload();
  else if (then !== "stay") location.assign(then);
  else say(form.dataset.done ?? "Done.");
}

/** The fields as JSON, null where there are none; optional ones that are empty are left out. */
function fields(form) {
  const inputs = [...form.elements].filter((each) => each.name && !each.disabled);
  if (!inputs.length) return null;
  const body = {};
  for (const input of inputs) {
    const type = input.dataset.type ?? (input.type === "checkbox" ? "boolean" : input.type === "number" ? "number" : "text");
    if (input.type === "radio" && !input.checked) continue;
    if (type === "boolean") body[input.name] = input.type === "checkbox" ? input.checked : input.value === "true";
    else if (input.value !== "") body[input.name] = type === "number" ? Number(input.value) : input.value;
    else if (input.required) body[input.name] = "";
  }
  return body;
}

function busy(button, is) {
  if (!button) return;
  button.disabled = is;
  if (is) button.setAttribute("aria-busy", "true");
  else button.removeAttribute("aria-busy");
}

/** Say beside a form what is wrong; "": nothing any more. */
function complain(form, problem) {
  let place = form.querySelector("[role=alert]");
  if (!place && problem) {
    place = document.createElement("p");
    place.className = "problem";
    place.setAttribute("role", "alert");
    place.setAttribute("data-keep", "");
    form.append(place);
  }
  if (!place) return;
  place.textContent = problem;
  place.hidden = !problem;
}

function confirmed(question, button) {
  const dialog = document.createElement("dialog");
  const form = document.createElement("form");
  const words = document.createElement("p");
  const row = document.createElement("div");
  const no = document.createElement("button");
  const yes = document.createElement("button");
  form.method = "dialog";
  words.textContent = question;
  words.id = "question";
  dialog.setAttribute("aria-labelledby", "question");
  row.className = "row";
  no.textContent = "Cancel";
  yes.textContent = button?.textContent.trim() || "Do it";
  yes.className = "primary";
  yes.value = "yes";
  row.append(no, yes);
  form.append(words, row);
  dialog.append(form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    dialog.showModal();
  });
}
