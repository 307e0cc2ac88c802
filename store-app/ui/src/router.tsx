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
import {
  categoriesQuery,
  type Filter,
  productQuery,
  productsQuery,
  shelfQuery,
} from "./lib/queries";
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

/** Reads a number that counts or names something; `undefined` for what is none, also for `0x10` and `1e3`. */
function readNumber(text: unknown): number | undefined {
  const number = /^\d+$/.test(String(text)) ? Number(text) : 0;
  return Number.isSafeInteger(number) && number > 0 ? number : undefined;
}

/** Reads the filter out of the address. What is no number is no filter. */
export function readFilter(search: Record<string, unknown>): Filter {
  const [category, page = 1] = [readNumber(search.category), readNumber(search.page)];
  return { ...(category && { category }), ...(page > 1 && { page }) };
}

const products = createRoute({
  getParentRoute: () => root,
  path: "/products",
  component: Products,
  validateSearch: readFilter,
  loaderDeps: ({ search }) => search,
  loader: ({ context: { queryClient }, deps }) => {
    void queryClient.prefetchQuery(shelfQuery(deps));
    void queryClient.prefetchQuery(categoriesQuery());
  },
});

const product = createRoute({
  getParentRoute: () => root,
  path: "/products/$productId",
  component: ProductPage,
  params: {
    parse: ({ productId }) => ({ productId: readNumber(productId) ?? Number.NaN }),
    stringify: ({ productId }) => ({ productId: String(productId) }),
  },
  loader: ({ context: { queryClient }, params: { productId } }) => {
    if (Number.isNaN(productId)) throw notFound();
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
