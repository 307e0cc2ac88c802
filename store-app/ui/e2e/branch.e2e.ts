/** Whose data is shown: the badge, two worktrees side by side, another password, another branch. */
import { afterAll, expect, test } from "vitest";
import {
  browse,
  expectAccessible,
  figure,
  screenshot,
  scrollThrough,
  settled,
  sideBySide,
  Worktree,
} from "./world";

const shop = new Worktree("shop");
const one = new Worktree("agent-one");
const two = new Worktree("agent-two");
const { open } = browse();

afterAll(() => {
  shop.run("git", "checkout", "--quiet", "main");
});

test("the badge names the branch, and tells more to whoever asks", async () => {
  const page = await open(one.url);
  const badge = page.getByRole("button", { name: "Branch jane-doe-main-worktree-agent-one" });
  expect(await badge.innerText()).toMatch(/owned · from jane-doe-main · expires in/);
  await badge.click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("lakebased, for this worktree").waitFor();
  expect(await dialog.innerText()).toContain(
    "projects/shop/branches/jane-doe-main-worktree-agent-one/endpoints/",
  );
  await expectAccessible(page);
  await screenshot(page, "branch-details");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
});

test("two worktrees side by side show different data", async () => {
  one.sql("UPDATE products SET price = 0.01, description = 'An agent was here.' WHERE id = 1");
  one.sql("UPDATE inventory SET quantity = 0 WHERE product_id = 1");
  one.sql(`INSERT INTO products (name, description, price, image_url, category_id)
           VALUES ('Quantum Brick', 'There and not there until the wall is measured.', 1234.5, '', 3)`);
  const pages = await Promise.all([one, two].map(({ url }) => open(`${url}/products`)));
  const [left, right] = pages as [(typeof pages)[0], (typeof pages)[0]];
  await expect.poll(() => left.getByRole("article").count()).toBe(14);
  await expect.poll(() => right.getByRole("article").count()).toBe(13);
  const blob = (page: typeof left) =>
    page.getByRole("article").filter({ hasText: "Premium JSON Blob" });
  expect(await blob(left).innerText()).toMatch(
    /An agent was here\.[\s\S]*\$0\.01[\s\S]*Out of stock/,
  );
  expect(await blob(right).innerText()).toMatch(/\$49\.99[\s\S]*1,000 in stock/);
  for (const [page, name] of [
    [left, "agent-one"],
    [right, "agent-two"],
  ] as const) {
    await page.setViewportSize({ width: 700, height: 900 });
    const badge = page.getByRole("button", { name: `Branch jane-doe-main-worktree-${name}` });
    // However small the badge is, the end of the name tells them apart.
    const end = await badge.getByText(new RegExp(`^.{0,5}-${name}$`)).boundingBox();
    const frame = await badge.boundingBox();
    expect(end && frame && end.x + end.width < frame.x + frame.width).toBe(true);
    await settled(page);
    await screenshot(page, `worktree-${name}`);
  }
  await sideBySide(["worktree-agent-one", "worktree-agent-two"], "worktrees");
  const quantum = left.getByRole("article").filter({ hasText: "Quantum Brick" });
  await quantum.scrollIntoViewIfNeeded();
  // It has no picture of its own.
  await expect
    .poll(() => quantum.locator("img").getAttribute("src"))
    .toBe("/images/products/unknown.svg");
  expect(await quantum.innerText()).toContain("$1,234.50");
  await left.goto(`${one.url}/products/1`);
  expect(await left.getByRole("button", { name: "Sold out" }).isDisabled()).toBe(true);
  await scrollThrough(left);
  await expectAccessible(left);
  await screenshot(left, "product-sold-out");
});

test("a new password shows in the badge, and the shop goes on", async () => {
  const page = await open(`${two.url}/products`);
  const badge = page.getByRole("button", { name: /^Branch/ });
  await badge.waitFor();
  const before = (await two.branch()).credential;
  two.run("lakebase", "env", "--rotate", "--format", "dotenv");
  await expect
    .poll(() => badge.getAttribute("data-credential"), { timeout: 15_000 })
    .toBe(`${before + 1}`);
  await page.reload();
  await expect.poll(() => page.getByRole("article").count()).toBe(13);
});

test("twenty new passwords under load fail no request", async () => {
  const before = (await two.branch()).credential;
  let rotating = true;
  let requests = 0;
  const failed: string[] = [];
  const side = async () => {
    for (; rotating; requests++) {
      const answer = await fetch(`${two.url}/api/products`);
      const text = await answer.text();
      if (!answer.ok) failed.push(text);
    }
  };
  const began = performance.now();
  const sides = [side(), side(), side(), side()];
  for (let count = 0; count < 20; count++) {
    const answered = requests;
    await two.start("lakebase", "env", "--rotate");
    // Each password has its turn.
    await expect
      .poll(() => requests, { interval: 5, timeout: 15_000 })
      .toBeGreaterThan(answered + 4);
  }
  await expect.poll(async () => (await two.branch()).credential).toBe(before + 20);
  rotating = false;
  await Promise.all(sides);
  const seconds = (performance.now() - began) / 1000;
  figure("requests while twenty passwords were replaced", {
    requests,
    seconds,
    failed: failed.length,
  });
  expect(failed).toEqual([]);
});

test("git checkout moves the shop that is open to the other branch", async () => {
  const page = await open(`${shop.url}/products/8`);
  await page.getByRole("button", { name: "Branch jane-doe-main" }).waitFor();
  await page.getByText("$5.99").waitFor();
  shop.run("git", "checkout", "--quiet", "-b", "feature/sale");
  await page
    .getByRole("button", { name: "Branch jane-doe-feature-sale" })
    .waitFor({ timeout: 45_000 });
  await page.getByText("The shop moved to jane-doe-feature-sale").waitFor();
  await screenshot(page, "moved-to-another-branch");
  shop.sql("UPDATE products SET price = 3.33 WHERE id = 8");
  await page.reload();
  await page.getByText("$3.33").waitFor();
  const added = shop.sql(`INSERT INTO products (name, description, price, image_url, category_id)
    VALUES ('Sale Brick', 'Only where the sale is.', 1.5, '', 3) RETURNING id`);
  const other = await open(`${shop.url}/products/${added}`);
  await other.getByRole("heading", { name: "Sale Brick" }).waitFor();
  shop.run("git", "checkout", "--quiet", "main");
  // Nobody touches the page: it takes the other branch's data by itself.
  await page.getByText("$5.99").waitFor({ timeout: 45_000 });
  await page.getByRole("button", { name: "Branch jane-doe-main" }).waitFor();
  // What only the branch that was left had is not shown under this one's name.
  await other.getByRole("heading", { name: "Nothing on this shelf" }).waitFor({ timeout: 45_000 });
  expect(await other.getByText("Sale Brick").count()).toBe(0);
});
