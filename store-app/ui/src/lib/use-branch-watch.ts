import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "@tanstack/react-router";
import { useEffect } from "react";
import { toast } from "sonner";
import type { BranchInfo } from "@/api/types.gen";
import { branchQuery, isBranchQuery } from "./queries";

/** Takes the page along when the store moves to another branch, and says so. */
export function useBranchWatch(): void {
  const queryClient = useQueryClient();
  const router = useRouter();

  useEffect(() => {
    const newest = () => queryClient.getQueryData(branchQuery().queryKey);
    let shown = newest();
    // Listeners hear of an answer before the page is drawn with it: the new name never stands over the old shelves.
    return queryClient.getQueryCache().subscribe(() => {
      const [before, now] = [shown, newest()];
      if (now === before) return;
      shown = now;
      if (!before || !now || placeOf(before) === placeOf(now)) return;
      forgetTheOldBranch(queryClient);
      // What failed on the old branch may be there on this one.
      void router.invalidate();
      if (before.name !== now.name) {
        toast.info(`The shop moved to ${now.name ?? now.host}`, {
          description: "These are that branch's shelves now.",
        });
      }
    });
  }, [queryClient, router]);
}

/** Names the database. A branch that was reset keeps its name and has other data. */
function placeOf({ uid, name, host }: BranchInfo): string {
  return JSON.stringify([uid, name, host]);
}

function forgetTheOldBranch(queryClient: QueryClient): void {
  void queryClient.resetQueries({ predicate: (query) => !isBranchQuery(query) });
}
