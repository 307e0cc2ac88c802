import { Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import { usePresenceWatch } from "@/lib/presence";
import { useBranchWatch } from "@/lib/use-branch-watch";
import { AwayNote } from "./away-note";
import { Header } from "./header";
import { Toaster } from "./ui/sonner";

/** What is around every page. */
export function PageFrame() {
  useBranchWatch();
  usePresenceWatch();
  const main = useRef<HTMLElement>(null);
  useFocusOnNavigation(main);
  return (
    <div className="flex min-h-dvh flex-col">
      <a
        href="#main"
        className="sr-only focus:not-sr-only focus:fixed focus:top-2 focus:left-2 focus:z-50 focus:rounded-md focus:bg-amber-400 focus:px-4 focus:py-2 focus:font-semibold focus:text-stone-950"
      >
        Skip to the shelves
      </a>
      <Header />
      <main
        id="main"
        ref={main}
        tabIndex={-1}
        className="mx-auto w-full max-w-6xl flex-1 px-4 py-8 outline-none sm:px-6"
      >
        <AwayNote />
        <Outlet />
      </main>
      <footer className="border-t px-4 py-6 text-center text-sm text-stone-400">
        <p>
          Every worktree has its own shop. Break this one; the others will not notice.{" "}
          <a
            href="/api/docs/"
            className="text-amber-300 underline underline-offset-4 hover:text-amber-200"
          >
            The API
          </a>
        </p>
      </footer>
      <Toaster />
    </div>
  );
}

/** Takes people who do not see the page change to where it changed. */
function useFocusOnNavigation(main: React.RefObject<HTMLElement | null>) {
  const place = useRouterState({
    select: ({ resolvedLocation: at }) => at && `${at.pathname} ${at.search.page ?? 1}`,
  });
  const before = useRef<string>(undefined);
  useEffect(() => {
    if (before.current && before.current !== place) {
      main.current?.focus({ preventScroll: true });
    }
    before.current = place;
  }, [place, main]);
}
