/** The addresses of the shop, and what each asks for before it is drawn. */
import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  notFound,
  type RouterHistory,
} from "@tanstack/react-router";
import { PageFrame } from "./components/page-frame";
import { NotFound, Trouble } from "./components/trouble";
import { categoriesQuery, productQuery, productsQuery } from "./lib/queries";
import { Home } from "./routes/home";
import { ProductPage } from "./routes/product";
import { Products } from "./routes/products";

const root = createRootRouteWithContext<{ queryClient: QueryClient }>()({ component: PageFrame });

// Loaders only begin to ask: the page is drawn at once, with skeletons where an answer is awaited.

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  component: Home,
  loader: ({ context: { queryClient } }) => {
    void queryClient.prefetchQuery(productsQuery());
    void queryClient.prefetchQuery(categoriesQuery());
  },
});

/** Reads the filter out of the address. What is no id of a category is no filter. */
export function readFilter(search: Record<string, unknown>): { category?: number } {
  const category = Number(search.category);
  return Number.isSafeInteger(category) && category > 0 ? { category } : {};
}

const products = createRoute({
  getParentRoute: () => root,
  path: "/products",
  component: Products,
  validateSearch: readFilter,
  loaderDeps: ({ search }) => search,
  loader: ({ context: { queryClient }, deps }) => {
    void queryClient.prefetchQuery(productsQuery(deps.category));
    void queryClient.prefetchQuery(categoriesQuery());
  },
});

const product = createRoute({
  getParentRoute: () => root,
  path: "/products/$productId",
  component: ProductPage,
  params: {
    parse: ({ productId }) => ({ productId: Number(productId) }),
    stringify: ({ productId }) => ({ productId: String(productId) }),
  },
  loader: ({ context: { queryClient }, params: { productId } }) => {
    if (!Number.isSafeInteger(productId)) throw notFound();
    void queryClient.prefetchQuery(productQuery(productId));
  },
});

const routeTree = root.addChildren([home, products, product]);

export function makeRouter(queryClient: QueryClient, history?: RouterHistory) {
  return createRouter({
    routeTree,
    history,
    context: { queryClient },
    defaultErrorComponent: Trouble,
    defaultNotFoundComponent: NotFound,
    defaultPreload: "intent",
    // Answers are kept by the query client alone.
    defaultPreloadStaleTime: 0,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
