import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { toast } from "sonner";
import { forgetTheOldBranch, useBranch } from "./queries";

/** Brings the new branch's data when the store moves to another one, and says so. */
export function useBranchWatch(): void {
  const queryClient = useQueryClient();
  const { data: branch } = useBranch();
  const seen = useRef<{ name: string; credential: number }>(undefined);

  useEffect(() => {
    if (!branch) return;
    const before = seen.current;
    const now = { name: branch.name ?? branch.host, credential: branch.credential };
    seen.current = now;
    if (!before || (before.name === now.name && before.credential === now.credential)) return;
    // Also with the same name: a branch that was reset has other data under it.
    void forgetTheOldBranch(queryClient);
    if (before.name !== now.name) {
      toast.info(`The shop moved to ${now.name}`, {
        description: "These are that branch's shelves now.",
      });
    }
  }, [branch, queryClient]);
}
