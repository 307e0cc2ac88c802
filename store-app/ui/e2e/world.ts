/** The stores that run, the browser that looks at them, and what no page may do. */
import { execFile, execFileSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import type { AxeResults } from "axe-core";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";

function variable(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run scripts/test-ui`);
  return value;
}

export const screenshots = variable("STORE_SCREENSHOTS");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** A worktree with a store of its own. */
export class Worktree {
  readonly path: string;
  readonly url: string;

  constructor(name: string) {
    this.path = join(variable("STORE_WORKTREES"), name);
    this.url = variable(`STORE_URL_${name.toUpperCase().replaceAll("-", "_")}`);
  }

  run(program: string, ...args: string[]): string {
    return execFileSync(program, args, { cwd: this.path, encoding: "utf8" }).trim();
  }

  /** The same, while other things go on. */
  async start(program: string, ...args: string[]): Promise<void> {
    await promisify(execFile)(program, args, { cwd: this.path });
  }

  sql(statement: string): string {
    return this.run("lakebase", "psql", "--", "-XAtqc", statement);
  }

  async branch(): Promise<{ name: string; credential: number }> {
    return (await fetch(`${this.url}/api/branch`)).json();
  }
}

function chromiumPath(): string {
  const places = [
    process.env.CHROMIUM,
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
  ];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error("no Chromium: run scripts/bootstrap, or set CHROMIUM");
  return found;
}

let browser: Browser;
let context: BrowserContext;
let complaints: string[];

/** Gives each test of a file a window of its own, and checks afterwards that no page broke or left the machine. */
export function browse(): { open: (url: string) => Promise<Page> } {
  beforeAll(async () => {
    mkdirSync(screenshots, { recursive: true });
    browser = await chromium.launch({ executablePath: chromiumPath(), chromiumSandbox: false });
  });
  afterAll(async () => browser?.close());
  beforeEach(async () => {
    complaints = [];
    context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  });
  afterEach(async () => {
    await context.close();
    expect(complaints).toEqual([]);
  });
  return { open };
}

async function open(url: string): Promise<Page> {
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error}`));
  page.on("request", (request) => {
    const { hostname, protocol } = new URL(request.url());
    if (protocol !== "data:" && hostname !== "127.0.0.1") complaints.push(`asked ${request.url()}`);
  });
  page.on("console", (message) => {
    if (message.text().includes("Content Security Policy")) complaints.push(message.text());
  });
  await page.goto(url);
  return page;
}

/** Fails with the list of what people with other senses or hands would stumble over. */
export async function expectAccessible(page: Page): Promise<void> {
  const results = await examined(page);
  const found = results.violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(" ")}`,
  );
  expect(found).toEqual([]);
  expect(results.passes.length).toBeGreaterThan(10);
}

/** Returns how many in a hundred of axe's rules that apply to the page are kept. */
export async function accessibility(page: Page): Promise<number> {
  const { passes, violations } = await examined(page);
  return Math.floor((100 * passes.length) / (passes.length + violations.length));
}

async function examined(page: Page): Promise<AxeResults> {
  await settled(page);
  await page.evaluate(axe);
  return page.evaluate("axe.run()");
}

/** Waits until nothing moves and every picture is there. */
export async function settled(page: Page): Promise<void> {
  await page.waitForFunction(
    () =>
      document.getAnimations().every((animation) => animation.playState !== "running") &&
      [...document.images].every((image) => image.loading === "lazy" || image.complete) &&
      document.fonts.status === "loaded",
  );
}

export async function screenshot(page: Page, name: string, fullPage = false): Promise<void> {
  await settled(page);
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage });
}

/** Puts pictures of the same size beside each other into one. */
export async function sideBySide(names: string[], together: string): Promise<void> {
  const page = await context.newPage();
  const images = names.map((name) => {
    const data = readFileSync(join(screenshots, `${name}.png`)).toString("base64");
    return `<img src="data:image/png;base64,${data}">`;
  });
  await page.setContent(`<body style="margin:0;display:flex">${images.join("")}`);
  await page.setViewportSize({ width: 1400, height: 900 });
  await screenshot(page, together);
}

/** Keeps what was measured, one line for each. */
export function figure(what: string, value: unknown): void {
  appendFileSync(join(screenshots, "figures.jsonl"), `${JSON.stringify({ what, value })}\n`);
}

/** Looks at all that is further down, so that it is loaded. */
export async function scrollThrough(page: Page): Promise<void> {
  await page.evaluate(async () => {
    for (const image of document.images) {
      image.scrollIntoView({ behavior: "instant" });
      await image.decode();
    }
    window.scrollTo({ top: 0, behavior: "instant" });
    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
  });
}
