import { getRouteApi, Link } from "@tanstack/react-router";
import { ChevronRightIcon, ShoppingCartIcon } from "lucide-react";
import { type ReactNode, Suspense } from "react";
import { toast } from "sonner";
import type { ProductDetail } from "@/api/types.gen";
import { CategoryBadge, Price, Stock } from "@/components/product-facts";
import { ProductPicture } from "@/components/product-picture";
import { Button } from "@/components/ui/button";
import { Skeleton } from "@/components/ui/skeleton";
import { useProductSuspense } from "@/lib/queries";
import { useTitle } from "@/lib/use-title";

const route = getRouteApi("/products/$productId");
const COLUMNS = "grid items-start gap-8 lg:grid-cols-2 lg:gap-12";

export function ProductPage() {
  const { productId } = route.useParams();
  return (
    <Suspense key={productId} fallback={<ProductSkeleton />}>
      <Product id={productId} />
    </Suspense>
  );
}

function Product({ id }: { id: number }) {
  const product = useProductSuspense(id);
  useTitle(product.name);
  return (
    <article>
      <Breadcrumbs product={product} />
      <div className={COLUMNS}>
        <ProductPicture
          product={product}
          alt={`Drawing: ${product.name}`}
          className="rounded-xl border shadow-2xl shadow-black/40"
        />
        <div className="flex flex-col items-start gap-5">
          <CategoryBadge name={product.category.name} />
          <h1 className="text-4xl font-bold tracking-tight text-balance">{product.name}</h1>
          <p className="flex flex-wrap items-baseline gap-x-5">
            <Price price={product.price} className="text-4xl" />
            <Stock quantity={product.inventory.quantity} />
          </p>
          <p className="text-lg text-stone-300">{product.description}</p>
          <AddToCart product={product} />
          <Metadata product={product} />
        </div>
      </div>
    </article>
  );
}

function Breadcrumbs({ product }: { product: ProductDetail }) {
  const link = "hover:text-amber-300 underline-offset-4 hover:underline";
  return (
    <nav aria-label="Breadcrumb" className="mb-6 text-sm text-stone-400">
      <ol className="flex flex-wrap items-center gap-2">
        <li>
          <Link to="/products" className={link}>
            Products
          </Link>
        </li>
        <ChevronRightIcon className="size-4" role="presentation" aria-hidden />
        <li>
          <Link to="/products" search={{ category: product.category.id }} className={link}>
            {product.category.name}
          </Link>
        </li>
      </ol>
    </nav>
  );
}

function AddToCart({ product }: { product: ProductDetail }) {
  const soldOut = product.inventory.quantity <= 0;
  const add = () =>
    toast.success(`${product.name} is in the cart`, {
      description: "There is no till. There is only the cart.",
    });
  return (
    <Button size="lg" disabled={soldOut} onClick={add}>
      <ShoppingCartIcon aria-hidden />
      {soldOut ? "Sold out" : "Add to cart"}
    </Button>
  );
}

function Metadata({ product }: { product: ProductDetail }) {
  return (
    <dl className="mt-3 grid w-full grid-cols-[auto_1fr] gap-x-6 gap-y-2 border-t pt-5 text-sm">
      <Row term="Number">{product.id}</Row>
      <Row term="Department">{product.category.description}</Row>
      <Row term="On the shelf since">
        <Day value={product.created_at} />
      </Row>
      <Row term="Last counted">
        {product.inventory.updated_at ? <Day value={product.inventory.updated_at} /> : "never"}
      </Row>
    </dl>
  );
}

function Row({ term, children }: { term: string; children: ReactNode }) {
  return (
    <>
      <dt className="text-stone-400">{term}</dt>
      <dd>{children}</dd>
    </>
  );
}

function Day({ value }: { value: string }) {
  return (
    <time dateTime={value}>
      {new Date(value).toLocaleDateString("en-GB", {
        day: "numeric",
        month: "long",
        year: "numeric",
      })}
    </time>
  );
}

function ProductSkeleton() {
  return (
    <div role="status" aria-label="Loading the product">
      <div aria-hidden>
        <Skeleton className="mb-6 h-5 w-48" />
        <div className={COLUMNS}>
          <Skeleton className="aspect-4/3 w-full rounded-xl" />
          <div className="flex flex-col gap-5">
            <Skeleton className="h-5 w-28 rounded-full" />
            <Skeleton className="h-10 w-3/4" />
            <Skeleton className="h-10 w-40" />
            <Skeleton className="h-20 w-full" />
            <Skeleton className="h-12 w-40" />
            <Skeleton className="mt-3 h-44 w-full" />
          </div>
        </div>
      </div>
    </div>
  );
}
