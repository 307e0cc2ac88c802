/** The pages of the shop, as people walk through them. */
import { expect, test } from "vitest";
import { browse, expectAccessible, figure, screenshot, scrollThrough, Worktree } from "./world";

const shop = new Worktree("shop");
const { open } = browse();

test("the home page greets, shows six products and the way to all departments", async () => {
  const page = await open(`${shop.url}/`);
  await page.getByRole("heading", { name: "Solid data. Structured bricks." }).waitFor();
  const cards = page.getByRole("region", { name: "In the window" }).getByRole("article");
  await expect.poll(() => cards.count()).toBe(6);
  const tiles = page.getByRole("region", { name: "Departments" }).getByRole("link");
  await expect.poll(() => tiles.count()).toBe(4);
  await scrollThrough(page);
  await expectAccessible(page);
  await screenshot(page, "home", true);
  await tiles.filter({ hasText: "Industrial Bricks" }).click();
  await page.waitForURL(`${shop.url}/products?category=4`);
  await expect.poll(() => page.getByRole("article").count()).toBe(3);
});

test("the filter is in the address, for reload, back and friends", async () => {
  const page = await open(`${shop.url}/products`);
  const cards = page.getByRole("article");
  await expect.poll(() => cards.count()).toBe(13);
  await scrollThrough(page);
  await expectAccessible(page);
  await screenshot(page, "products", true);
  const categories = page.getByRole("navigation", { name: "Categories" });
  await categories.getByRole("link", { name: "Vintage Data" }).click();
  await page.waitForURL(`${shop.url}/products?category=2`);
  await expect.poll(() => cards.count()).toBe(3);
  expect(await cards.filter({ hasText: "Classic SQL Dump" }).innerText()).toContain(
    "Only 75 left!",
  );
  await page.reload();
  await expect.poll(() => cards.count()).toBe(3);
  expect(await categories.locator("[aria-current]").innerText()).toBe("Vintage Data");
  await page.getByText("3 products in Vintage Data").waitFor({ state: "attached" });
  await expectAccessible(page);
  await screenshot(page, "products-filtered");
  await page.goBack();
  await expect.poll(() => cards.count()).toBe(13);
});

test("a product has a page, and its button puts it into the cart", async () => {
  const page = await open(`${shop.url}/products`);
  await page.getByRole("link", { name: "Classic SQL Dump" }).click();
  await page.waitForURL(`${shop.url}/products/6`);
  await page.getByRole("heading", { name: "Classic SQL Dump", level: 1 }).waitFor();
  expect(await page.title()).toContain("Classic SQL Dump");
  expect(await page.getByRole("main").innerText()).toContain("$39.99");
  await page.getByRole("img", { name: "Drawing: Classic SQL Dump" }).waitFor();
  await expectAccessible(page);
  await screenshot(page, "product");
  await page.getByRole("button", { name: "Add to cart" }).click();
  await page.getByText("Classic SQL Dump is in the cart").waitFor();
  await expectAccessible(page);
  await screenshot(page, "product-in-cart");
});

test("what is not there is said, by the shop and by the store", async () => {
  const page = await open(`${shop.url}/products/4711`);
  for (const path of ["/products/4711", "/products/abc", "/no/such/page"]) {
    await page.goto(`${shop.url}${path}`);
    await page.getByRole("heading", { name: "Nothing on this shelf" }).waitFor();
    await page.getByRole("link", { name: "See what there is" }).waitFor();
  }
  await expectAccessible(page);
  await screenshot(page, "not-found");
  const person = { headers: { accept: "text/html" } };
  const statusOf = async (path: string) => (await fetch(`${shop.url}${path}`, person)).status;
  expect(await statusOf("/no/such/page")).toBe(404);
  expect(await statusOf("/products/0x10")).toBe(404);
  expect(await statusOf("/products/4711")).toBe(200);
  const answer = await fetch(`${shop.url}/api/no-such-thing`, person);
  expect([answer.status, (await answer.json()).code]).toEqual([404, "not_found"]);
});

test("the keyboard alone gets around", async () => {
  const page = await open(`${shop.url}/products/1`);
  await page.getByRole("button", { name: "Add to cart" }).waitFor();
  await page.keyboard.press("Tab");
  await screenshot(page, "skip-link");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  const focused = () => page.evaluate(() => document.activeElement?.textContent);
  // Past the header, straight to the first link of the page.
  expect(await focused()).toBe("Products");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${shop.url}/products`);
  await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("main");
});

test("a small screen shows everything, and nothing beside itself", async () => {
  const page = await open(`${shop.url}/products`);
  await page.setViewportSize({ width: 360, height: 740 });
  for (const path of ["/", "/products", "/products/2"]) {
    await page.goto(`${shop.url}${path}`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await expect.poll(() => page.getByRole("status").count()).toBe(0);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(width, path).toBeLessThanOrEqual(360);
  }
  await expectAccessible(page);
  await screenshot(page, "product-small", true);
  await page.goto(`${shop.url}/`);
  await expect.poll(() => page.getByRole("article").count()).toBe(6);
  await scrollThrough(page);
  await screenshot(page, "home-small", true);
});

test("people without scripts have a page of their own", async () => {
  const page = await open(`${shop.url}/plain`);
  await expect.poll(() => page.locator("[id^=product-]").count()).toBe(13);
  await expectAccessible(page);
  await screenshot(page, "plain", true);
});

test("people who want no motion get none", async () => {
  const page = await open(`${shop.url}/products`);
  await page.emulateMedia({ reducedMotion: "reduce" });
  const card = page.getByRole("article").first();
  await card.hover();
  expect(await card.evaluate((element) => getComputedStyle(element).translate)).toMatch(
    /^(none|0px)$/,
  );
  expect(
    await card.evaluate((element) =>
      Number.parseFloat(getComputedStyle(element).transitionDuration),
    ),
  ).toBeLessThan(0.001);
});

test("the home page is light, and the second visit asks for little", async () => {
  const page = await open("about:blank");
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  let bytes = 0;
  network.on("Network.loadingFinished", ({ encodedDataLength }) => {
    bytes += encodedDataLength;
  });
  const visit = async () => {
    await page.goto("about:blank");
    bytes = 0;
    await page.goto(`${shop.url}/`);
    await expect.poll(() => page.getByRole("article").count()).toBe(6);
    await scrollThrough(page);
    return bytes;
  };
  const weight = { first: await visit(), second: await visit() };
  expect(weight.first).toBeLessThan(300_000);
  expect(weight.second).toBeLessThan(30_000);
  figure("home page, bytes over the wire", weight);
});

test("files are compressed, and hashed ones kept for ever", async () => {
  const html = await (await fetch(`${shop.url}/`, { headers: { accept: "text/html" } })).text();
  const script = html.match(/\/assets\/[\w.-]+\.js/)?.[0];
  const answer = await fetch(`${shop.url}${script}`);
  expect(answer.headers.get("cache-control")).toContain("immutable");
  expect(answer.headers.get("content-encoding")).toBe("gzip");
  const tag = answer.headers.get("etag") ?? "";
  const again = await fetch(`${shop.url}${script}`, { headers: { "if-none-match": tag } });
  expect(again.status).toBe(304);
});

test("the description of the API can be read", async () => {
  const page = await open(`${shop.url}/api/docs/`);
  await page.getByText("Data & Bricks Store").first().waitFor();
  await page.getByText("/api/products/{id}").first().waitFor();
  await screenshot(page, "api-docs");
});
