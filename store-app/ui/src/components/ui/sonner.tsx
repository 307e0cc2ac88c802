import type { CSSProperties } from "react";
import { Toaster as Sonner, type ToasterProps } from "sonner";

const look = {
  fontFamily: "inherit",
  "--normal-bg": "var(--color-stone-800)",
  "--normal-text": "var(--color-stone-100)",
  "--normal-border": "var(--color-stone-700)",
} as CSSProperties;

export function Toaster(props: ToasterProps) {
  return <Sonner theme="dark" position="bottom-right" style={look} {...props} />;
}
