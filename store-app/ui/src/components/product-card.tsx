import { Link } from "@tanstack/react-router";
import type { Product } from "@/api/types.gen";
import { CategoryBadge, Price, Stock } from "./product-facts";
import { ProductPicture } from "./product-picture";
import { Card, CardContent, CardFooter } from "./ui/card";
import { Skeleton } from "./ui/skeleton";

export const GRID = "grid gap-6 sm:grid-cols-2 lg:grid-cols-3";

export function ProductCard({ product }: { product: Product }) {
  return (
    <Card className="group relative h-full transition duration-200 focus-within:border-amber-400/60 hover:-translate-y-1 hover:border-amber-400/60 hover:shadow-xl hover:shadow-amber-950/40 motion-reduce:hover:translate-y-0">
      <ProductPicture product={product} alt="" lazy />
      <CardContent>
        <CategoryBadge name={product.category_name} />
        <h3 className="text-lg leading-snug font-semibold">
          {/* The whole card is the link; its name is the product's. */}
          <Link
            to="/products/$productId"
            params={{ productId: product.id }}
            className="after:absolute after:inset-0 group-hover:text-amber-200"
          >
            {product.name}
          </Link>
        </h3>
        <p className="line-clamp-2 text-sm text-stone-400">{product.description}</p>
      </CardContent>
      <CardFooter>
        <Price price={product.price} />
        <Stock quantity={product.quantity} />
      </CardFooter>
    </Card>
  );
}

export function ProductGrid({ products }: { products: Product[] }) {
  return (
    <ul className={GRID}>
      {products.map((product) => (
        <li key={product.id}>
          <ProductCard product={product} />
        </li>
      ))}
    </ul>
  );
}

export function ProductGridSkeleton({ count = 6 }: { count?: number }) {
  return (
    <div role="status" aria-label="Loading products">
      <div className={GRID} aria-hidden>
        {Array.from({ length: count }, (_, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: they are all the same
          <Card key={index}>
            <Skeleton className="aspect-4/3 w-full rounded-none" />
            <CardContent>
              <Skeleton className="h-5 w-28 rounded-full" />
              <Skeleton className="h-6 w-3/4" />
              <Skeleton className="h-10 w-full" />
            </CardContent>
            <CardFooter>
              <Skeleton className="h-8 w-24" />
              <Skeleton className="h-4 w-20" />
            </CardFooter>
          </Card>
        ))}
      </div>
    </div>
  );
}
