/** How heavy and how quick each page is: what Lighthouse measures, asked of Chromium itself. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CDPSession, Page } from "playwright-core";
import { afterAll, expect, test } from "vitest";
import { accessibility, browse, screenshots, scrollThrough, settled, Worktree } from "./world";

const shop = new Worktree("shop");
const { open } = browse();
const pages = { home: "/", products: "/products", product: "/products/6" };

/** A desk with a good line, and the phone on a slow one with which Lighthouse measures. */
const visitors = {
  desk: { width: 1280, height: 900, slowdown: 1 },
  phone: { width: 390, height: 844, slowdown: 4, line: { kilobits: 1638, latency: 150 } },
};
type Visitor = (typeof visitors)["desk"] | (typeof visitors)["phone"];

const rows: string[] = [];
afterAll(() => {
  const heading =
    "| page | visitor | bytes | requests | first paint | largest paint | blocked | shift | accessibility |";
  const line = heading.replaceAll(/[^|]+/g, "---");
  writeFileSync(join(screenshots, "pages.md"), `${[heading, line, ...rows].join("\n")}\n`);
});

for (const [name, path] of Object.entries(pages)) {
  for (const [who, visitor] of Object.entries(visitors)) {
    test(`${name}, seen from a ${who}`, async () => {
      const page = await open("about:blank");
      const load = await counted(page, visitor);
      await watched(page);
      await page.goto(`${shop.url}${path}`);
      await page.getByText(/\$\d/).first().waitFor();
      await settled(page);
      const { firstPaint, largestPaint, blocked, shift } = await seen(page);
      await scrollThrough(page);
      const score = await accessibility(page);
      const ms = (time: number) => `${Math.round(time)} ms`;
      rows.push(
        `| ${[
          name,
          who,
          load.bytes,
          load.requests,
          ms(firstPaint),
          ms(largestPaint),
          ms(blocked),
          shift.toFixed(3),
          score,
        ].join(" | ")} |`,
      );
      expect(load.bytes).toBeLessThan(300_000);
      // How soon depends on the machine, and is only told.
      expect(firstPaint).toBeGreaterThan(0);
      expect(largestPaint).toBeGreaterThanOrEqual(firstPaint);
      expect(shift).toBeLessThan(0.1);
      expect(score).toBeGreaterThanOrEqual(95);
    });
  }
}

/** Makes the page that visitor's, and counts what comes over the wire. */
async function counted(page: Page, visitor: Visitor): Promise<{ bytes: number; requests: number }> {
  await page.setViewportSize(visitor);
  const chromium: CDPSession = await page.context().newCDPSession(page);
  await chromium.send("Network.enable");
  await chromium.send("Emulation.setCPUThrottlingRate", { rate: visitor.slowdown });
  if ("line" in visitor) {
    const bytesPerSecond = (visitor.line.kilobits * 1024) / 8;
    await chromium.send("Network.emulateNetworkConditions", {
      offline: false,
      latency: visitor.line.latency,
      downloadThroughput: bytesPerSecond,
      uploadThroughput: bytesPerSecond,
    });
  }
  const load = { bytes: 0, requests: 0 };
  chromium.on("Network.loadingFinished", ({ encodedDataLength }) => {
    load.bytes += encodedDataLength;
    load.requests++;
  });
  return load;
}

interface Seen {
  firstPaint: number;
  largestPaint: number;
  blocked: number;
  shift: number;
}

/** Has the page keep what it shows, from its beginning. */
async function watched(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const seen: Seen = { firstPaint: 0, largestPaint: 0, blocked: 0, shift: 0 };
    const watch = (type: string, take: (entry: PerformanceEntry) => void) =>
      new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({
        type,
        buffered: true,
      });
    watch("paint", ({ name, startTime }) => {
      if (name === "first-contentful-paint") seen.firstPaint = startTime;
    });
    watch("largest-contentful-paint", ({ startTime }) => {
      seen.largestPaint = startTime;
    });
    // A task is felt from 50 ms on.
    watch("longtask", ({ duration }) => {
      seen.blocked += duration - 50;
    });
    watch("layout-shift", (entry) => {
      const { hadRecentInput, value } = entry as PerformanceEntry & {
        hadRecentInput: boolean;
        value: number;
      };
      if (!hadRecentInput) seen.shift += value;
    });
    (window as unknown as { seen: Seen }).seen = seen;
  });
}

async function seen(page: Page): Promise<Seen> {
  const told = () => page.evaluate(() => (window as unknown as { seen: Seen }).seen);
  await expect.poll(async () => (await told()).largestPaint).toBeGreaterThan(0);
  return told();
}
