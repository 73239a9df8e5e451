/** Tests the ICE servers that Liveman offers, from this browser. */

import { test } from "./gathering.js";
import { offeredServers, Refusal } from "./signalling.js";

const form = document.getElementById("test");
const say = document.getElementById("test-state");
const list = document.getElementById("findings");
const LABELS = ["Server", "Transport", "Result", "What happened"];

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  list.replaceChildren();
  document.getElementById("findings-table").hidden = false;
  say.textContent = "Testing …";
  try {
    await testAll();
  } catch (error) {
    say.textContent =
      error instanceof Refusal
        ? `Liveman gives no servers: ${error.detail}`
        : `The test failed: ${error.message}`;
  } finally {
    button.disabled = false;
  }
});

async function testAll() {
  // The name is nobody's stream: only the servers are asked for.
  const endpoint = new URL(form.dataset.endpoint, document.baseURI).href;
  const servers = await offeredServers(endpoint);
  const findings = [null, ...servers].map((server) => {
    const row = document.createElement("tr");
    const url = server ? String(server.urls) : "This browser";
    fill(row, [url, "", "…", ""]);
    list.append(row);
    return test(server).then((finding) => {
      row.dataset.works = finding.works;
      fill(row, [
        url,
        finding.url && finding.transport,
        finding.works ? "works" : "fails",
        finding.says,
        details(finding),
      ]);
      return finding;
    });
  });
  const tested = (await Promise.all(findings)).filter(({ url }) => url);
  say.textContent = summary(tested);
}

/** Which servers work, in one sentence. Pure. */
function summary(tested) {
  const good = tested.filter(({ works }) => works);
  const count = good.length < tested.length ? `${good.length} of ${tested.length}` : `All ${tested.length}`;
  const works = `${count} work from here.`;
  if (tested.length === 0) {
    return "Liveman offers no ICE servers. Those behind a strict firewall need a TURN server.";
  }
  if (!good.some(({ kind }) => kind === "turn")) {
    return `${works} But no TURN server does: behind a strict firewall nothing gets through.`;
  }
  return works;
}

function details({ candidates, errors }) {
  return [
    ...candidates.map(({ type, address, ms }) => `${type} ${address}, ${ms} ms`),
    ...errors.map(({ code, text, address, ms }) => `error ${code} ${text} (${address}), ${ms} ms`),
  ];
}

function fill(row, [url, transport, state, says, lines = []]) {
  const cells = [url, transport, state, says].map((text, at) => {
    const cell = document.createElement("td");
    const inner = document.createElement("div");
    inner.textContent = text;
    cell.dataset.label = LABELS[at];
    if (at === 3) cell.className = "long";
    cell.append(inner);
    return cell;
  });
  if (["works", "fails"].includes(state)) {
    cells[2].firstChild.className = `badge ${state === "works" ? "good" : "bad"}`;
  }
  if (lines.length) {
    cells[3].firstChild.append(more(lines));
  }
  row.replaceChildren(...cells);
}

function more(lines) {
  const [details, summary, all] = ["details", "summary", "ul"].map((name) => document.createElement(name));
  summary.textContent = "Details";
  all.append(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  details.append(summary, all);
  return details;
}
