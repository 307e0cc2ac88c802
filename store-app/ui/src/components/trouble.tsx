/** What is shown instead of a page that could not be drawn. */
import { useQueryErrorResetBoundary } from "@tanstack/react-query";
import { type ErrorComponentProps, Link, useRouter } from "@tanstack/react-router";
import { DoorClosedIcon, SearchXIcon, TriangleAlertIcon } from "lucide-react";
import { type ReactNode, useCallback, useEffect } from "react";
import { getReadiness } from "@/api/sdk.gen";
import { Problem } from "@/lib/problem";
import { useTitle } from "@/lib/use-title";
import { BrickLogo } from "./brick-logo";
import { Button } from "./ui/button";

/** How long to leave the store alone between two questions whether it is back. */
const PAUSE = 1_500;

export function Trouble({ error }: ErrorComponentProps) {
  const retry = useRetry();
  if (error instanceof Problem && error.kind === "absent") return <NotFound />;
  if (error instanceof Problem && error.kind === "away")
    return <Closed why={error.message} retry={retry} />;
  return <Broken error={error} retry={retry} />;
}

/** Draws the page once more, and asks once more for what failed. */
function useRetry() {
  const router = useRouter();
  const { reset } = useQueryErrorResetBoundary();
  return useCallback(() => {
    reset();
    void router.invalidate();
  }, [router, reset]);
}

function Closed({ why, retry }: { why: string; retry: () => void }) {
  useTitle("Closed for a moment");
  useEffect(() => {
    let gone = false;
    let timer = setTimeout(look, PAUSE);
    async function look() {
      const ready = await getReadiness().then(
        () => true,
        () => false,
      );
      if (gone) return;
      if (ready) retry();
      else timer = setTimeout(look, PAUSE);
    }
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [retry]);
  return (
    <Panel icon={<DoorClosedIcon />} title="Closed for a moment" live>
      <p>
        The shelves are where they were, but nobody can reach them. This page looks again by itself
        and opens as soon as somebody answers.
      </p>
      <p className="font-mono text-sm break-words text-stone-400">{why}</p>
      <Button onClick={retry}>Try the door now</Button>
    </Panel>
  );
}

function Broken({ error, retry }: { error: unknown; retry: () => void }) {
  useTitle("Something broke");
  const message = error instanceof Error ? error.message : String(error);
  return (
    <Panel icon={<TriangleAlertIcon />} title="A brick fell out" live>
      <p>This is ours to mend, not yours.</p>
      <p className="font-mono text-sm break-words text-stone-400">
        {message}
        {error instanceof Problem && error.requestId && <> · request {error.requestId}</>}
      </p>
      <Button onClick={retry}>Try again</Button>
    </Panel>
  );
}

export function NotFound() {
  useTitle("Not found");
  return (
    <Panel icon={<SearchXIcon />} title="Nothing on this shelf">
      <p>Neither data nor a brick. It may have been on another branch.</p>
      <Button asChild>
        <Link to="/products">See what there is</Link>
      </Button>
    </Panel>
  );
}

type PanelProps = { icon: ReactNode; title: string; live?: boolean; children: ReactNode };

function Panel({ icon, title, live = false, children }: PanelProps) {
  return (
    <section
      role={live ? "alert" : undefined}
      className="relative mx-auto flex max-w-2xl flex-col items-center gap-5 overflow-hidden rounded-xl border border-orange-500/30 bg-stone-900 px-6 py-14 text-center"
    >
      <BrickLogo className="absolute -right-8 -bottom-12 w-40 text-stone-100/5" />
      <span className="text-orange-400 [&>svg]:size-12">{icon}</span>
      <h1 className="text-3xl font-bold">{title}</h1>
      <div className="relative flex flex-col items-center gap-5 text-stone-300">{children}</div>
    </section>
  );
}
