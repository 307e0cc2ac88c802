// Fails when `src/api` is not what the generator makes of `openapi.json` today. That `openapi.json` is what the program
// prints is checked by a test of the program.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";

const fresh = mkdtempSync("src/.api-");

function contents(directory) {
  return new Map(
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [relative(directory, path), readFileSync(path, "utf8")]),
  );
}

let stale;
try {
  execFileSync("npx", ["--no-install", "openapi-ts"], {
    env: { ...process.env, API_OUT: fresh },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [made, kept] = [contents(fresh), contents("src/api")];
  const names = new Set([...made.keys(), ...kept.keys()]);
  stale = [...names].filter((name) => made.get(name) !== kept.get(name));
} finally {
  rmSync(fresh, { recursive: true });
}
if (stale.length > 0) {
  console.error(`stale in src/api: ${stale.join(", ")}\nhint: run \`npm run generate\``);
  process.exit(1);
}
