import { cva, type VariantProps } from "class-variance-authority";
import type { ComponentProps } from "react";
import { cn } from "@/lib/utils";

const badgeVariants = cva(
  "inline-flex w-fit items-center rounded-full border px-2.5 py-0.5 text-xs font-medium whitespace-nowrap",
  {
    variants: {
      variant: {
        data: "border-sky-400/30 bg-sky-400/10 text-sky-300",
        bricks: "border-orange-400/30 bg-orange-400/10 text-orange-300",
        other: "border-stone-600 bg-stone-800 text-stone-200",
      },
    },
    defaultVariants: { variant: "other" },
  },
);

type Props = ComponentProps<"span"> & VariantProps<typeof badgeVariants>;

export function Badge({ className, variant, ...props }: Props) {
  return (
    <span data-slot="badge" className={cn(badgeVariants({ variant }), className)} {...props} />
  );
}
