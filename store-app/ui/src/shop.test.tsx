import { cleanup, configure, fireEvent, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { readFilter } from "./router";
import { type Answers, answersOf, blob, detail, openShop } from "./test-shop";

// A machine that is busy with other things is not a failure.
configure({ asyncUtilTimeout: 15_000 });
let answers: Answers;

beforeEach(() => {
  answers = answersOf([blob]);
});

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

test("the filter is read from the address, and nonsense is no filter", () => {
  expect(readFilter({ category: 2 })).toEqual({ category: 2 });
  expect(readFilter({ category: "2" })).toEqual({ category: 2 });
  for (const category of ["x", -1, 1.5, 0, undefined, null, [], {}])
    expect(readFilter({ category })).toEqual({});
});

test("the store is asked for the filtered shelf alone", async () => {
  const { asked } = openShop("/products?category=1", answers);
  expect(await screen.findByRole("link", { name: blob.name })).toBeDefined();
  expect(screen.getByText("Out of stock")).toBeDefined();
  expect(asked.filter((path) => path.startsWith("/api/products"))).toEqual([
    "/api/products?category_id=1&limit=49&offset=0",
  ]);
});

test("the page is read from the address, and the first goes without saying", () => {
  expect(readFilter({ category: 2, page: 3 })).toEqual({ category: 2, page: 3 });
  expect(readFilter({ page: "2" })).toEqual({ page: 2 });
  for (const page of [0, 1, -1, 1.5, "0x10", "1e3", "x"]) expect(readFilter({ page })).toEqual({});
});

test("a long shelf has pages, each with an address, and every product is on one", async () => {
  const all = Array.from({ length: 150 }, (_, index) => ({
    ...blob,
    id: index + 1,
    name: `Brick ${index + 1}`,
  }));
  for (let page = 1; page <= 4; page++)
    answers[`/api/products?limit=49&offset=${(page - 1) * 48}`] = all
      .slice((page - 1) * 48)
      .slice(0, 49);
  const { router } = openShop("/products", answers);
  const seen: (string | null)[] = [];
  for (let page = 1; page <= 4; page++) {
    const first = `Brick ${(page - 1) * 48 + 1}`;
    // By their text: roles take long to find among so many.
    await screen.findByText(first);
    if (page > 1) expect(router.state.location.search).toEqual({ page });
    seen.push(...[...document.querySelectorAll("h3")].map((heading) => heading.textContent));
    const next = screen.queryByText("Next page");
    if (next) fireEvent.click(next);
    else expect(page).toBe(4);
  }
  expect(seen).toEqual(all.map(({ name }) => name));
  expect(screen.getByRole("heading", { name: "Products 145 to 150", level: 2 })).toBeDefined();
  expect(document.activeElement?.id).toBe("main");
  fireEvent.click(screen.getByText("Previous page"));
  expect(await screen.findByText("Brick 97")).toBeDefined();
});

test("a filter tells how many products it leaves, and where", async () => {
  answers["/api/products?category_id=1&limit=49&offset=0"] = [
    blob,
    { ...blob, id: 2, name: "Other Blob" },
  ];
  openShop("/products", answers);
  const told = await screen.findByText("1 product", { selector: "[aria-live=polite]" });
  fireEvent.click(await screen.findByRole("link", { name: "Premium Data" }));
  await waitFor(() => expect(told.textContent).toBe("2 products in Premium Data"));
  // Only what changes in a place that stays is read out.
  expect(told.isConnected).toBe(true);
});

test("a number in another notation names no product", async () => {
  answers["/api/products/16"] = detail;
  const { asked } = openShop("/products/0x10", answers);
  expect(await screen.findByRole("heading", { name: "Nothing on this shelf" })).toBeDefined();
  expect(asked).not.toContain("/api/products/16");
});

test("skeletons stand where an answer is awaited", async () => {
  answers["/api/products"] = new Promise(() => {});
  openShop("/products", answers);
  expect(await screen.findByRole("status", { name: "Loading products" })).toBeDefined();
  expect(screen.queryByRole("article", { name: blob.name })).toBeNull();
});

test("a closed store opens by itself, without a click", async () => {
  answers["/api/products"] = answers["/api/health/ready"] = 503;
  openShop("/products", answers);
  expect(await screen.findByRole("heading", { name: "Closed for a moment" })).toBeDefined();
  expect(screen.getByText("the store says 503")).toBeDefined();
  Object.assign(answers, { "/api/products": [blob], "/api/health/ready": { status: "ready" } });
  expect(await screen.findByRole("link", { name: blob.name })).toBeDefined();
});

test("a store that does not answer at all is closed, too", async () => {
  delete answers["/api/products"];
  openShop("/products", answers);
  expect(await screen.findByText("the store does not answer")).toBeDefined();
  expect(await screen.findByRole("heading", { name: "Closed for a moment" })).toBeDefined();
});

test("a defect is owned up to, with the request's id and a way to try again", async () => {
  answers["/api/products"] = 500;
  openShop("/products", answers);
  expect(await screen.findByText(/request r-1/)).toBeDefined();
  answers["/api/products"] = [blob];
  fireEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("link", { name: blob.name })).toBeDefined();
});

test("a product that is not there is not a failure", async () => {
  answers["/api/products/7"] = 404;
  openShop("/products/7", answers);
  expect(await screen.findByRole("heading", { name: "Nothing on this shelf" })).toBeDefined();
});
