/** The small things that are said about a product, on its card as on its page. */
import { priceParts, stockOf, tradeOf } from "@/lib/shop";
import { cn } from "@/lib/utils";
import { Badge } from "./ui/badge";

export function CategoryBadge({ name }: { name: string }) {
  return <Badge variant={tradeOf(name)}>{name}</Badge>;
}

export function Price({ price, className }: { price: string; className?: string }) {
  const { dollars, cents } = priceParts(price);
  return (
    <span className={cn("text-2xl font-bold text-amber-400 tabular-nums", className)}>
      ${dollars}
      <span className="text-[0.7em]">.{cents}</span>
    </span>
  );
}

const LEVELS = {
  none: "text-red-400",
  few: "font-semibold text-orange-400",
  many: "text-stone-400",
};

export function Stock({ quantity }: { quantity: number }) {
  const { level, text } = stockOf(quantity);
  return <span className={cn("text-sm", LEVELS[level])}>{text}</span>;
}
