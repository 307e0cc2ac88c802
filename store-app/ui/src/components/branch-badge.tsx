/** Whose data this is: the branch behind the store, live, with all that is known of it a click away. */
import { GitBranchIcon, UnplugIcon } from "lucide-react";
import { type ReactNode, useSyncExternalStore } from "react";
import type { BranchInfo } from "@/api/types.gen";
import { useBranch } from "@/lib/queries";
import { hueOf, until } from "@/lib/shop";
import { cn } from "@/lib/utils";
import { Dialog, DialogContent, DialogDescription, DialogTitle, DialogTrigger } from "./ui/dialog";
import { Skeleton } from "./ui/skeleton";

const OWNERSHIP = { owned: "owned", adopted: "adopted", none: "branch" } as const;

export function BranchBadge() {
  const { data: branch, isError } = useBranch();
  if (!branch && !isError) return <Skeleton className="h-12.5 w-52" />;
  if (!branch) return <Unreachable />;
  const name = branch.name ?? branch.host;
  return (
    <Dialog>
      <DialogTrigger
        data-credential={branch.credential}
        className={cn(
          "relative flex max-w-full cursor-pointer items-center gap-2.5 rounded-lg border border-amber-400/40 bg-stone-900 px-3 py-1.5 text-left hover:border-amber-400",
          isError && "border-red-400/60",
        )}
      >
        {branch.credential > 1 && <Flash key={`${name} ${branch.credential}`} />}
        <Swatch name={name} />
        <span className="min-w-0 leading-tight">
          <span className="sr-only">Branch {name}</span>
          <ShortName name={name} />
          <span className="block truncate text-xs text-stone-400">
            {isError ? "the store does not answer" : <Facts branch={branch} />}
          </span>
        </span>
      </DialogTrigger>
      <Details branch={branch} name={name} />
    </Dialog>
  );
}

/** A new credential arrives with a flash. The button stays the one that may have the focus. */
function Flash() {
  return (
    <span
      aria-hidden
      className="pointer-events-none absolute inset-0 animate-arrive rounded-[inherit]"
    />
  );
}

/** The end of a name tells one worktree from another: what does not fit is left out before it. */
function ShortName({ name }: { name: string }) {
  const end = Math.max(0, name.length - 12);
  return (
    <span aria-hidden className="flex font-mono text-sm font-semibold text-amber-300">
      <span className="truncate">{name.slice(0, end)}</span>
      <span className="shrink-0">{name.slice(end)}</span>
    </span>
  );
}

function Unreachable() {
  return (
    <p className="flex items-center gap-2.5 rounded-lg border border-red-400/60 bg-stone-900 px-3 py-2 text-sm text-red-300">
      <UnplugIcon className="size-4" aria-hidden />
      The store does not answer
    </p>
  );
}

function Swatch({ name }: { name: string }) {
  return (
    <span
      aria-hidden
      className="grid size-7 shrink-0 place-items-center rounded-md text-stone-950"
      style={{ backgroundColor: `oklch(0.8 0.14 ${hueOf(name)})` }}
    >
      <GitBranchIcon className="size-4" />
    </span>
  );
}

function Facts({ branch }: { branch: BranchInfo }) {
  const now = useMinute();
  if (!branch.name) return "no branch known";
  const parts = [
    OWNERSHIP[branch.ownership],
    branch.source && `from ${branch.source}`,
    branch.expires_at ? `expires ${until(branch.expires_at, now)}` : "does not expire",
  ];
  return parts.filter(Boolean).join(" · ");
}

function Details({ branch, name }: { branch: BranchInfo; name: string }) {
  return (
    <DialogContent>
      <DialogTitle>
        <span className="sr-only">Branch </span>
        <span className="font-mono break-all text-amber-300">{name}</span>
      </DialogTitle>
      <DialogDescription>
        Every product on these shelves is read from this branch. Another worktree has another one.
      </DialogDescription>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-2 text-sm">
        <Fact term="Forked from">{branch.source ?? "unknown"}</Fact>
        <Fact term="Made by">
          {
            {
              owned: "lakebased, for this worktree",
              adopted: "somebody else; it was there before",
              none: "unknown",
            }[branch.ownership]
          }
        </Fact>
        <Fact term="Expires">
          {branch.expires_at ? <Time value={branch.expires_at} /> : "never"}
        </Fact>
        <Fact term="Host">{branch.host}</Fact>
        <Fact term="Endpoint">{branch.endpoint ?? "unknown"}</Fact>
        <Fact term="Credential">
          number {branch.credential} since the store began
          {branch.credential_expires_at && (
            <>
              , good until <Time value={branch.credential_expires_at} />
            </>
          )}
        </Fact>
      </dl>
    </DialogContent>
  );
}

function Fact({ term, children }: { term: string; children: ReactNode }) {
  return (
    <>
      <dt className="text-stone-400">{term}</dt>
      <dd className="min-w-0 break-words">{children}</dd>
    </>
  );
}

function Time({ value }: { value: string }) {
  return <time dateTime={value}>{new Date(value).toLocaleString("en-GB")}</time>;
}

/** The time now, to the minute. */
function useMinute(): number {
  return useSyncExternalStore(everyMinute, () => Math.floor(Date.now() / 60_000) * 60_000);
}

function everyMinute(changed: () => void): () => void {
  const timer = setInterval(changed, 60_000);
  return () => clearInterval(timer);
}
