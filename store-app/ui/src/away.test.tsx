/** The database goes away and comes back under a page that is open; and a network that has nothing to do with it. */
import { onlineManager } from "@tanstack/react-query";
import { act, cleanup, configure, fireEvent, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Answers, answersOf, blob, detail, openShop } from "./test-shop";

configure({ asyncUtilTimeout: 15_000 });
let answers: Answers;

beforeEach(() => {
  answers = answersOf([blob]);
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  onlineManager.setOnline(true);
});

test("a page that lies open says that the database is away, and when it is back shows what is new", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  openShop("/products", answers);
  expect(await screen.findByText(blob.name)).toBeDefined();
  answers["/api/products"] = 503;
  await act(() => vi.advanceTimersByTimeAsync(15_000));
  expect((await screen.findByRole("alert")).textContent).toContain("the store says 503");
  expect(screen.getByText(blob.name)).toBeDefined();
  answers["/api/products"] = [{ ...blob, name: "Brick of After" }];
  await act(() => vi.advanceTimersByTimeAsync(1_500));
  expect(await screen.findByText("Brick of After")).toBeDefined();
  expect(screen.queryByRole("alert")).toBeNull();
});

test("nobody is asked for a page at which nobody looks, until somebody does", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  const { asked } = openShop("/products", answers);
  const looks = () => asked.filter((path) => path.startsWith("/api/products")).length;
  expect(await screen.findByText(blob.name)).toBeDefined();
  await act(() => vi.advanceTimersByTimeAsync(6 * 60_000));
  const before = looks();
  expect(before).toBeGreaterThan(10);
  await act(() => vi.advanceTimersByTimeAsync(60 * 60_000));
  expect(looks()).toBe(before);
  fireEvent.pointerMove(window);
  await waitFor(() => expect(looks()).toBe(before + 1));
  await act(() => vi.advanceTimersByTimeAsync(15_000));
  expect(looks()).toBe(before + 2);
});

test("a product that is taken off the shelf is not shown any longer", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  answers["/api/products/1"] = detail;
  openShop("/products/1", answers);
  expect(await screen.findByRole("heading", { name: detail.name })).toBeDefined();
  answers["/api/products/1"] = 404;
  await act(() => vi.advanceTimersByTimeAsync(15_000));
  expect(await screen.findByRole("heading", { name: "Nothing on this shelf" })).toBeDefined();
});

test("a closed page that was left does not go on asking", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  let answer: (status: number) => void = () => {};
  answers["/api/products/1"] = 503;
  answers["/api/health/ready"] = new Promise((resolve) => {
    answer = resolve;
  });
  const { asked } = openShop("/products/1", answers);
  const looks = () => asked.filter((path) => path === "/api/health/ready").length;
  expect(await screen.findByRole("heading", { name: "Closed for a moment" })).toBeDefined();
  await waitFor(() => expect(looks()).toBe(1));
  // Left while the answer is still under way.
  fireEvent.click(screen.getByRole("link", { name: "All products" }));
  expect(await screen.findByText(blob.name)).toBeDefined();
  answers["/api/health/ready"] = 503;
  answer(503);
  await act(() => vi.advanceTimersByTimeAsync(10_000));
  expect(looks()).toBe(1);
});

test("a browser that takes itself for offline still reaches the store on its machine", async () => {
  onlineManager.setOnline(false);
  openShop("/products", answers);
  expect(await screen.findByText(blob.name)).toBeDefined();
});
