import { Link } from "@tanstack/react-router";
import { ArrowRightIcon, BrickWallIcon, DatabaseIcon, PackageIcon } from "lucide-react";
import { useCategoriesSuspense } from "@/lib/queries";
import { type Trade, tradeOf } from "@/lib/shop";
import { cn } from "@/lib/utils";
import { Skeleton } from "./ui/skeleton";

const LOOK = {
  data: {
    icon: DatabaseIcon,
    tile: "border-sky-400/30 from-sky-500/25 hover:border-sky-400/70",
    ink: "text-sky-300",
  },
  bricks: {
    icon: BrickWallIcon,
    tile: "border-orange-400/30 from-orange-500/25 hover:border-orange-400/70",
    ink: "text-orange-300",
  },
  other: {
    icon: PackageIcon,
    tile: "border-stone-700 from-stone-700/40 hover:border-stone-500",
    ink: "text-stone-300",
  },
} satisfies Record<Trade, unknown>;

const GRID = "grid gap-4 sm:grid-cols-2";

export function CategoryTiles() {
  const categories = useCategoriesSuspense();
  return (
    <ul className={GRID}>
      {categories.map((category) => {
        const { icon: Icon, tile, ink } = LOOK[tradeOf(category.name)];
        return (
          <li key={category.id}>
            <Link
              to="/products"
              search={{ category: category.id }}
              className={cn(
                "group flex h-full items-start gap-4 rounded-lg border bg-linear-to-br to-stone-900 to-60% p-5 transition-colors",
                tile,
              )}
            >
              <Icon className={cn("mt-1 size-7 shrink-0", ink)} aria-hidden />
              <span className="flex-1">
                <span className={cn("block text-lg font-semibold", ink)}>{category.name}</span>
                <span className="mt-1 block text-sm text-stone-300">{category.description}</span>
              </span>
              <ArrowRightIcon
                className="mt-1.5 size-5 shrink-0 text-stone-400 transition-transform group-hover:translate-x-1"
                aria-hidden
              />
            </Link>
          </li>
        );
      })}
    </ul>
  );
}

export function CategoryTilesSkeleton() {
  return (
    <div role="status" aria-label="Loading categories">
      <div className={GRID} aria-hidden>
        {["one", "two", "three", "four"].map((key) => (
          <Skeleton key={key} className="h-28 rounded-lg" />
        ))}
      </div>
    </div>
  );
}
