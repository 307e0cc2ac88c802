import { Link } from "@tanstack/react-router";
import { Suspense } from "react";
import { BrickLogo } from "@/components/brick-logo";
import { CategoryTiles, CategoryTilesSkeleton } from "@/components/category-tiles";
import { ProductGrid, ProductGridSkeleton } from "@/components/product-card";
import { Button } from "@/components/ui/button";
import { useProductsSuspense } from "@/lib/queries";
import { featured } from "@/lib/shop";
import { useTitle } from "@/lib/use-title";

export function Home() {
  useTitle("Solid data, structured bricks");
  return (
    <div className="grid gap-14">
      <Hero />
      <section aria-labelledby="featured">
        <h2 id="featured" className="mb-5 text-2xl font-bold">
          In the window
        </h2>
        <Suspense fallback={<ProductGridSkeleton />}>
          <Featured />
        </Suspense>
      </section>
      <section aria-labelledby="categories">
        <h2 id="categories" className="mb-5 text-2xl font-bold">
          Departments
        </h2>
        <Suspense fallback={<CategoryTilesSkeleton />}>
          <CategoryTiles />
        </Suspense>
      </section>
    </div>
  );
}

function Hero() {
  return (
    <section
      aria-labelledby="hero"
      className="relative overflow-hidden rounded-2xl border bg-stone-900 bg-[radial-gradient(circle_at_85%_15%,--alpha(var(--color-orange-500)/35%),transparent_60%)] px-6 py-14 sm:px-12 sm:py-20"
    >
      <BrickLogo className="absolute -right-16 -bottom-14 w-80 text-orange-400/15 sm:w-md" />
      <div className="relative max-w-xl">
        <h1 id="hero" className="text-4xl font-extrabold tracking-tight text-balance sm:text-5xl">
          Solid data.{" "}
          <span className="bg-linear-to-r from-amber-400 to-orange-500 bg-clip-text text-transparent">
            Structured bricks.
          </span>
        </h1>
        <p className="mt-5 text-lg text-stone-300">
          The only shop where both the inventory and the schema can be load-bearing.
        </p>
        <Button asChild size="lg" className="mt-8">
          <Link to="/products">See all products</Link>
        </Button>
      </div>
    </section>
  );
}

function Featured() {
  return <ProductGrid products={featured(useProductsSuspense(), 6)} />;
}
