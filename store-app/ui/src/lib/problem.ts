/** What went wrong with a request, by what a person can do about it. */
import { client } from "@/api/client.gen";
import type { ErrorDocument } from "@/api/types.gen";

export type Kind = "absent" | "away" | "defect";

/** A failed request. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    readonly kind: Kind,
    message: string,
    /** Finds the request in the store's log. */
    readonly requestId?: string,
  ) {
    super(message);
  }
}

function isDocument(body: unknown): body is ErrorDocument {
  return typeof body === "object" && body !== null && "message" in body && "request_id" in body;
}

/** Reads what a failed request brought; no status means that nobody answered. */
export function problemOf(body: unknown, status?: number): Problem {
  if (status === undefined) return new Problem("away", "the store does not answer");
  const document = isDocument(body) ? body : undefined;
  const message = document?.message ?? `the store answered with status ${status}`;
  return new Problem(kindOf(status), message, document?.request_id);
}

function kindOf(status: number): Kind {
  if (status === 404 || status === 422) return "absent";
  // 502 and 504 come from a proxy in front of a store that is away.
  if (status === 502 || status === 503 || status === 504) return "away";
  return "defect";
}

/** Makes every failure of the generated client a {@link Problem}. */
export function installProblems(): void {
  client.interceptors.error.use((body, response) =>
    body instanceof Problem ? body : problemOf(body, response?.status),
  );
}
