/** The whole shop in a test, in front of a store that answers as told. */
import { QueryClientProvider } from "@tanstack/react-query";
import { createMemoryHistory, RouterProvider } from "@tanstack/react-router";
import { render } from "@testing-library/react";
import { vi } from "vitest";
import type { BranchInfo, Product, ProductDetail } from "./api/types.gen";
import { installProblems } from "./lib/problem";
import { makeQueryClient } from "./lib/query-client";
import { makeRouter } from "./router";

export const branch: BranchInfo = {
  name: "jane-main",
  uid: "br-1",
  source: "production",
  expires_at: null,
  ownership: "owned",
  host: "127.0.0.1",
  endpoint: null,
  credential: 1,
  credential_expires_at: null,
};

export const blob: Product = {
  id: 1,
  name: "Premium JSON Blob",
  description: "Nested.",
  price: "49.99",
  image_url: "",
  category_id: 1,
  category_name: "Premium Data",
  quantity: 0,
};

export const categories = [
  { id: 1, name: "Premium Data", description: "Bytes.", created_at: "2026-01-01T00:00:00Z" },
];

export const detail: ProductDetail = {
  id: 1,
  name: blob.name,
  description: blob.description,
  price: blob.price,
  image_url: "",
  created_at: "2026-01-01T00:00:00Z",
  updated_at: "2026-01-01T00:00:00Z",
  category: { id: 1, name: "Premium Data", description: "Bytes." },
  inventory: { quantity: 0, updated_at: null },
};

/** What the store answers at a path: a document, or the status of a failure. */
export type Answers = Record<string, unknown>;

/** A store on a branch that answers, with these products on its shelves. */
export const answersOf = (products: Product[], on: BranchInfo = branch): Answers => ({
  "/api/branch": on,
  "/api/categories": categories,
  "/api/products": products,
  "/api/health/ready": { status: "ready" },
});

installProblems();

/** Opens the shop at an address. What is changed in `answers` later is answered from then on. */
export function openShop(address: string, answers: Answers) {
  const asked: string[] = [];
  vi.stubGlobal("scrollTo", () => {});
  vi.stubGlobal("fetch", async (request: Request) => {
    const { pathname, search } = new URL(request.url, "http://shop.test");
    asked.push(pathname + search);
    const answer = await (answers[pathname + search] ?? answers[pathname]);
    if (answer === undefined) throw new TypeError("fetch failed");
    if (typeof answer !== "number") return Response.json(answer);
    const document = { code: "code", message: `the store says ${answer}`, request_id: "r-1" };
    return Response.json(document, { status: answer });
  });
  const queryClient = makeQueryClient();
  const history = createMemoryHistory({ initialEntries: [address] });
  const router = makeRouter(queryClient, history);
  render(
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
    </QueryClientProvider>,
  );
  return { asked, router };
}
