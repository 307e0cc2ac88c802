import { cleanup, configure, fireEvent, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { readFilter } from "./router";
import { type Answers, blob, branch, categories, openShop } from "./test-shop";

// A machine that is busy with other things is not a failure.
configure({ asyncUtilTimeout: 15_000 });
let answers: Answers;

beforeEach(() => {
  answers = { "/api/branch": branch, "/api/categories": categories, "/api/products": [blob] };
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
    "/api/products?category_id=1",
  ]);
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

test("when the store moves to another branch, the shelves are that branch's", async () => {
  openShop("/products", answers);
  expect(await screen.findByRole("button", { name: /^Branch ?jane-main/ })).toBeDefined();
  expect(await screen.findByText(blob.name)).toBeDefined();
  answers["/api/branch"] = { ...branch, name: "jane-feature", credential: 2 };
  answers["/api/products"] = [{ ...blob, name: "Feature Brick" }];
  expect(await screen.findByText("Feature Brick")).toBeDefined();
  expect(await screen.findByRole("button", { name: /^Branch ?jane-feature/ })).toBeDefined();
  expect(screen.queryByText(blob.name)).toBeNull();
});
