import { useState } from "react";
import { pictureOf, UNKNOWN_PICTURE } from "@/lib/shop";
import { cn } from "@/lib/utils";

type Props = {
  product: { name: string; image_url: string };
  /** Says what is on it; empty where the name stands beside it. */
  alt: string;
  lazy?: boolean;
  className?: string;
};

/** The drawing of a product, or a box with a question mark on it. */
export function ProductPicture({ product, alt, lazy = false, className }: Props) {
  const wanted = pictureOf(product);
  const [missing, setMissing] = useState<string>();
  return (
    <img
      src={missing === wanted ? UNKNOWN_PICTURE : wanted}
      alt={alt}
      width={400}
      height={300}
      loading={lazy ? "lazy" : "eager"}
      onError={() => setMissing(wanted)}
      className={cn("aspect-4/3 w-full bg-stone-800 object-cover", className)}
    />
  );
}
