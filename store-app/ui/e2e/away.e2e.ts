/** The database goes away, and comes back. */
import { afterAll, expect, test } from "vitest";
import { browse, expectAccessible, screenshot, Worktree } from "./world";

const store = new Worktree("agent-two");
const { open } = browse();

// Local Lakebase lives in the daemon: without it no connection reaches a database.
afterAll(() => {
  store.run("lakebase", "up");
});

test("a database that is away is said, and every page comes back by itself", async () => {
  const page = await open(`${store.url}/`);
  await expect.poll(() => page.getByRole("article").count()).toBe(6);
  const lyingOpen = await open(`${store.url}/products`);
  await expect.poll(() => lyingOpen.getByRole("article").count()).toBe(13);
  store.run("lakebase", "down");
  await expect
    .poll(async () => (await fetch(`${store.url}/api/products`)).status, { timeout: 30_000 })
    .toBe(503);
  await page.goto(`${store.url}/products/5`);
  await page.getByRole("heading", { name: "Closed for a moment" }).waitFor({ timeout: 30_000 });
  await page.getByText("database away").waitFor();
  await expectAccessible(page);
  await screenshot(page, "closed");
  const note = lyingOpen.getByRole("alert").filter({ hasText: "You see what was here before" });
  await note.waitFor({ timeout: 30_000 });
  await expectAccessible(lyingOpen);
  await screenshot(lyingOpen, "away-while-open");
  const plain = await open(`${store.url}/plain`);
  await plain.getByRole("heading", { name: "Closed for a moment" }).waitFor();
  await page.evaluate("window.sameWindow = true");
  store.run("lakebase", "up");
  await page.getByRole("heading", { name: "Vintage XML Dataset" }).waitFor({ timeout: 45_000 });
  expect(await page.evaluate("window.sameWindow")).toBe(true);
  await note.waitFor({ state: "hidden", timeout: 45_000 });
  await expect.poll(() => plain.locator("[id^=product-]").count(), { timeout: 45_000 }).toBe(13);
});
