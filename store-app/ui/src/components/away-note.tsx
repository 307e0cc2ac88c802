/** Says that a page which lies open shows what was, while its shelves cannot be reached. */
import { notifyManager, type Query, useQueryClient } from "@tanstack/react-query";
import { DoorClosedIcon } from "lucide-react";
import { useCallback, useSyncExternalStore } from "react";
import { isBranchQuery } from "@/lib/queries";

export function AwayNote() {
  const why = useWhyAway();
  if (why === undefined) return null;
  return (
    <div
      role="alert"
      className="mb-6 flex items-start gap-3 rounded-lg border border-orange-500/40 bg-stone-900 px-4 py-3 text-sm text-stone-200"
    >
      <DoorClosedIcon className="size-5 shrink-0 text-orange-400" aria-hidden />
      <div className="min-w-0">
        <p>Closed for a moment. You see what was here before; this page looks again by itself.</p>
        <p className="mt-1 font-mono break-words text-stone-400">{why}</p>
      </div>
    </div>
  );
}

/** Why something on this page is older than it should be. */
function useWhyAway(): string | undefined {
  const queries = useQueryClient().getQueryCache();
  const subscribe = useCallback(
    (changed: () => void) => queries.subscribe(notifyManager.batchCalls(changed)),
    [queries],
  );
  return useSyncExternalStore(
    subscribe,
    () => queries.getAll().find(isBehind)?.state.error?.message,
  );
}

/** A page without data shows the failure itself; the badge tells of its own. */
function isBehind(query: Query): boolean {
  const { status, data } = query.state;
  return status === "error" && data !== undefined && query.isActive() && !isBranchQuery(query);
}
