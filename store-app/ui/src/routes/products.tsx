import { getRouteApi, Link } from "@tanstack/react-router";
import { type ReactNode, Suspense } from "react";
import { ProductGrid, ProductGridSkeleton } from "@/components/product-card";
import { Button } from "@/components/ui/button";
import { Skeleton } from "@/components/ui/skeleton";
import {
  type Filter,
  useCategoriesSuspense,
  useKnownCategories,
  useKnownShelf,
  useShelfSuspense,
} from "@/lib/queries";
import { countOf, PAGE, tradeOf } from "@/lib/shop";
import { useTitle } from "@/lib/use-title";
import { cn } from "@/lib/utils";

const route = getRouteApi("/products");

export function Products() {
  useTitle("Products");
  const filter = route.useSearch();
  return (
    <>
      <h1 className="text-3xl font-bold">Products</h1>
      <Announcement filter={filter} />
      <Suspense fallback={<Skeleton className="mt-5 h-10 max-w-xl" />}>
        <Categories />
      </Suspense>
      <Suspense key={JSON.stringify(filter)} fallback={<ProductGridSkeleton />}>
        <Shelf filter={filter} />
      </Suspense>
    </>
  );
}

function Categories() {
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
      aria-current={chosen ? "page" : undefined}
      className={cn(
        "block rounded-full border border-stone-700 px-4 py-1.5 text-sm font-medium text-stone-200 transition-colors hover:border-stone-400",
        chosen && ["text-stone-950", CHOSEN[tradeOf(name)]],
      )}
    >
      {children}
    </Link>
  );
}

/** Tells people who do not see the shelves change what is on them now. */
function Announcement({ filter: { category, page } }: { filter: Filter }) {
  const products = useKnownShelf({ category, page });
  const name = useKnownCategories()?.find(({ id }) => id === category)?.name;
  const where = name ? ` in ${name}` : "";
  return (
    <p aria-live="polite" className="sr-only">
      {products && `${countOf(products.length, page ?? 1)}${where}`}
    </p>
  );
}

function Shelf({ filter }: { filter: Filter }) {
  const found = useShelfSuspense(filter);
  if (found.length === 0) {
    return (
      <>
        <p className="mt-10 text-lg text-stone-300">This shelf is empty on this branch.</p>
        <Pages filter={filter} hasNext={false} />
      </>
    );
  }
  return (
    <section aria-labelledby="shelf" className="mt-8">
      <h2 id="shelf" className="mb-4 text-sm text-stone-400">
        {countOf(found.length, filter.page ?? 1)}
      </h2>
      <ProductGrid products={found.slice(0, PAGE)} />
      <Pages filter={filter} hasNext={found.length > PAGE} />
    </section>
  );
}

function Pages({ filter: { category, page = 1 }, hasNext }: { filter: Filter; hasNext: boolean }) {
  if (page === 1 && !hasNext) return null;
  const before = page > 2 ? page - 1 : undefined;
  return (
    <nav aria-label="Pages" className="mt-8 flex justify-center gap-4">
      {page > 1 && (
        <Button asChild>
          <Link to="/products" search={{ category, page: before }}>
            Previous page
          </Link>
        </Button>
      )}
      {hasNext && (
        <Button asChild>
          <Link to="/products" search={{ category, page: page + 1 }}>
            Next page
          </Link>
        </Button>
      )}
    </nav>
  );
}
