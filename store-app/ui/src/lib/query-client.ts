/** How answers are kept, and how often each is asked for anew. */
import { QueryCache, QueryClient } from "@tanstack/react-query";
import { isSomebodyHere } from "./presence";
import { Problem } from "./problem";

/** How often a page that lies open looks whether its shelves are still so, and can be reached at all. */
const LOOK_PAUSE = 15_000;
/** How often while they cannot. */
const AWAY_PAUSE = 1_500;

export function makeQueryClient(): QueryClient {
  const queryCache = new QueryCache({
    onError: (error, { queryKey, state }) => {
      const isGone = error instanceof Problem && error.kind === "absent";
      // Not to be shown any longer; the page that asks again says so itself.
      if (isGone && state.data !== undefined) void client.resetQueries({ queryKey, exact: true });
    },
  });
  const client = new QueryClient({
    queryCache,
    defaultOptions: {
      queries: {
        staleTime: LOOK_PAUSE,
        // The store itself waits for a database that is about to come.
        retry: false,
        refetchInterval: ({ state }) => {
          if (state.status === "error") return AWAY_PAUSE;
          return isSomebodyHere() && LOOK_PAUSE;
        },
        // The store is on this machine: it answers also when the browser takes that for offline.
        networkMode: "always",
      },
      mutations: { networkMode: "always" },
    },
  });
  return client;
}
