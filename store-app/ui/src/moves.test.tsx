/** The store moves to another branch under a page that is open. */
import { cleanup, configure, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Answers, answersOf, blob, branch, detail, openShop } from "./test-shop";

configure({ asyncUtilTimeout: 15_000 });
let answers: Answers;
const feature = { ...branch, name: "jane-feature", uid: "br-2", credential: 2 };

beforeEach(() => {
  answers = answersOf([blob]);
});

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

const badge = (name: string) =>
  screen.findByRole("button", { name: new RegExp(`^Branch ?${name}`) });

test("the shelves are the new branch's", async () => {
  openShop("/products", answers);
  await badge("jane-main");
  expect(await screen.findByText(blob.name)).toBeDefined();
  Object.assign(answers, answersOf([{ ...blob, name: "Feature Brick" }], feature));
  expect(await screen.findByText("Feature Brick")).toBeDefined();
  await badge("jane-feature");
  expect(screen.queryByText(blob.name)).toBeNull();
  expect(screen.getByText("The shop moved to jane-feature")).toBeDefined();
});

test("the old shelves never stand under the new badge", async () => {
  openShop("/products", answers);
  expect(await screen.findByText(blob.name)).toBeDefined();
  Object.assign(answers, { "/api/branch": feature, "/api/products": new Promise(() => {}) });
  await badge("jane-feature");
  // Roles are of what can be seen alone: what is hidden behind a skeleton may still be in the document.
  expect(screen.queryByRole("link", { name: blob.name })).toBeNull();
  expect(screen.getByRole("status", { name: "Loading products" })).toBeDefined();
});

test("a product that only the old branch had is gone, and is back with that branch", async () => {
  answers["/api/products/14"] = { ...detail, name: "Feature Brick" };
  openShop("/products/14", answers);
  expect(await screen.findByRole("heading", { name: "Feature Brick" })).toBeDefined();
  Object.assign(answers, { "/api/branch": feature, "/api/products/14": 404 });
  expect(await screen.findByRole("heading", { name: "Nothing on this shelf" })).toBeDefined();
  expect(screen.queryByText("Feature Brick")).toBeNull();
  Object.assign(answers, { "/api/branch": branch, "/api/products/14": detail });
  expect(await screen.findByRole("heading", { name: detail.name })).toBeDefined();
});

test("a branch that is not ready yet is closed, and opens by itself", async () => {
  openShop("/products", answers);
  expect(await screen.findByText(blob.name)).toBeDefined();
  const closed = { "/api/products": 503, "/api/health/ready": 503 };
  Object.assign(answers, { "/api/branch": feature }, closed);
  expect(await screen.findByRole("heading", { name: "Closed for a moment" })).toBeDefined();
  expect(screen.queryByText(blob.name)).toBeNull();
  Object.assign(answers, answersOf([{ ...blob, name: "Feature Brick" }], feature));
  expect(await screen.findByText("Feature Brick")).toBeDefined();
});

test("a branch that was made anew under its old name has other shelves", async () => {
  openShop("/products", answers);
  expect(await screen.findByText(blob.name)).toBeDefined();
  const anew = { ...branch, uid: "br-9", credential: 2 };
  Object.assign(answers, answersOf([{ ...blob, name: "Fresh Brick" }], anew));
  expect(await screen.findByText("Fresh Brick")).toBeDefined();
});

test("another password is no other branch: nothing is asked again, and the focus stays", async () => {
  const { asked } = openShop("/products", answers);
  expect(await screen.findByText(blob.name)).toBeDefined();
  const button = await badge("jane-main");
  button.focus();
  answers["/api/branch"] = { ...branch, credential: 2 };
  await vi.waitFor(() => expect(button.dataset.credential).toBe("2"), { timeout: 15_000 });
  expect(document.activeElement).toBe(button);
  expect(asked.filter((path) => path.startsWith("/api/products"))).toHaveLength(1);
});
