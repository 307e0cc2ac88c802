import { getRouteApi, Link } from "@tanstack/react-router";
import { type ReactNode, Suspense } from "react";
import { ProductGrid, ProductGridSkeleton } from "@/components/product-card";
import { Skeleton } from "@/components/ui/skeleton";
import { useCategoriesSuspense, useProductsSuspense } from "@/lib/queries";
import { tradeOf } from "@/lib/shop";
import { useTitle } from "@/lib/use-title";
import { cn } from "@/lib/utils";

const route = getRouteApi("/products");

export function Products() {
  useTitle("Products");
  const { category } = route.useSearch();
  return (
    <>
      <h1 className="text-3xl font-bold">Products</h1>
      <Suspense fallback={<Skeleton className="mt-5 h-10 max-w-xl" />}>
        <Filter />
      </Suspense>
      <Suspense key={category} fallback={<ProductGridSkeleton />}>
        <Shelf category={category} />
      </Suspense>
    </>
  );
}

function Filter() {
  const categories = useCategoriesSuspense();
  return (
    <nav aria-label="Categories" className="mt-5">
      <ul className="flex flex-wrap gap-2">
        <li>
          <Choice>All</Choice>
        </li>
        {categories.map(({ id, name }) => (
          <li key={id}>
            <Choice category={id} name={name}>
              {name}
            </Choice>
          </li>
        ))}
      </ul>
    </nav>
  );
}

const CHOSEN = {
  data: "bg-sky-400 border-sky-400",
  bricks: "bg-orange-400 border-orange-400",
  other: "bg-amber-400 border-amber-400",
};

type ChoiceProps = { category?: number; name?: string; children: ReactNode };

function Choice({ category, name = "", children }: ChoiceProps) {
  const chosen = route.useSearch().category === category;
  return (
    <Link
      to="/products"
      search={{ category }}
      // Tells the browser, too, which one is chosen; without a filter none of the others is.
      activeOptions={{ exact: true, explicitUndefined: true }}
      className={cn(
        "block rounded-full border border-stone-700 px-4 py-1.5 text-sm font-medium text-stone-200 transition-colors hover:border-stone-400",
        chosen && ["text-stone-950", CHOSEN[tradeOf(name)]],
      )}
    >
      {children}
    </Link>
  );
}

function Shelf({ category }: { category?: number }) {
  const products = useProductsSuspense(category);
  if (products.length === 0) {
    return <p className="mt-10 text-lg text-stone-300">This shelf is empty on this branch.</p>;
  }
  return (
    <section aria-labelledby="shelf" className="mt-8">
      <h2 id="shelf" className="mb-4 text-sm text-stone-400">
        {products.length} {products.length === 1 ? "product" : "products"}
      </h2>
      <ProductGrid products={products} />
    </section>
  );
}
