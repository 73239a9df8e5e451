// Bundles what the dashboard takes from npm into its static files, with the licences that go with it.
import { build } from "esbuild";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = fileURLToPath(new URL("../src/liveman/dashboard/static/", import.meta.url));

/** Each becomes one module. */
const bundles = [
  // Without protected content and Smooth Streaming, which no node records.
  { file: "dash.js", from: "dashjs/dist/modern/esm/dash.mediaplayer.min.js", what: "MediaPlayer" },
  { file: "qr.js", from: "uqr/dist/index.mjs", what: "encode" },
];

for (const { file, from, what } of bundles) {
  await build({
    stdin: { contents: `export { ${what} } from "./node_modules/${from}";`, resolveDir: here },
    banner: { js: "/* Licences: third-party.txt beside this file. */" },
    bundle: true,
    format: "esm",
    legalComments: "none",
    minify: true,
    outfile: out + file,
    target: "es2021",
  });
}

const lock = JSON.parse(await readFile(`${here}package-lock.json`, "utf8"));
const texts = [];
for (const [path, entry] of Object.entries(lock.packages)) {
  if (!path || entry.dev || entry.devOptional) continue;
  const licence = (await readdir(here + path)).find((each) => /^licen[cs]e/i.test(each));
  const text = licence ? await readFile(`${here}${path}/${licence}`, "utf8") : "";
  texts.push(`${path.split("node_modules/").pop()} ${entry.version} (${entry.license})\n\n${text.trim()}\n`);
}
await writeFile(`${out}third-party.txt`, texts.join(`\n${"-".repeat(80)}\n\n`));
