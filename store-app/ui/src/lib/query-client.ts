/** How answers are kept, and which failures are worth a second try or a word. */
import { QueryCache, QueryClient } from "@tanstack/react-query";
import { toast } from "sonner";
import { branchQuery } from "./queries";

export function makeQueryClient(): QueryClient {
  const queryCache = new QueryCache({
    onError: (error, query) => {
      // A page without data shows the failure itself; the badge tells of its own.
      const shown = query.state.data !== undefined;
      const badge = JSON.stringify(query.queryKey) === JSON.stringify(branchQuery().queryKey);
      if (shown && !badge) {
        toast.warning("Showing what was here a moment ago", {
          id: "stale",
          description: error.message,
        });
      }
    },
  });
  return new QueryClient({
    queryCache,
    defaultOptions: {
      // The store itself waits for a database that is about to come; the closed page asks again.
      queries: { staleTime: 30_000, retry: false },
    },
  });
}
