/** Whether anybody looks at the page: a database that is asked over and over never goes to sleep, and that costs. */
import { focusManager } from "@tanstack/react-query";
import { useEffect } from "react";

/** How long somebody who does nothing is taken to be reading. */
const PATIENCE = 5 * 60_000;
const SIGNS = ["pointermove", "pointerdown", "keydown", "scroll", "focus"];

let lastSign = Date.now();

export const isSomebodyHere = () => Date.now() - lastSign < PATIENCE;

/** Looks for signs of somebody, and has the page ask anew when they come back. */
export function usePresenceWatch(): void {
  useEffect(() => {
    const noted = () => {
      const isBack = !isSomebodyHere();
      lastSign = Date.now();
      if (isBack) focusManager.onFocus();
    };
    noted();
    for (const sign of SIGNS) window.addEventListener(sign, noted, { passive: true });
    return () => {
      for (const sign of SIGNS) window.removeEventListener(sign, noted);
    };
  }, []);
}
