/** What the shop asks the store for: a typed hook for each question, over the generated options. */
import { type QueryClient, queryOptions, useQuery, useSuspenseQuery } from "@tanstack/react-query";
import {
  getBranchOptions,
  getProductOptions,
  listCategoriesOptions,
  listProductsOptions,
} from "@/api/@tanstack/react-query.gen";

/** Often enough that a person who has just rotated a password sees it; the database is not asked. */
const BRANCH_PAUSE = 1_500;

/** A product of its own, by id. */
export const productQuery = (id: number) => getProductOptions({ path: { id } });
/** The products of a category, or of all. */
export const productsQuery = (category?: number) =>
  listProductsOptions({ query: { category_id: category } });
export const categoriesQuery = () => listCategoriesOptions();
/** Whose data is shown, asked over and over. */
export const branchQuery = () =>
  queryOptions({ ...getBranchOptions(), refetchInterval: BRANCH_PAUSE, staleTime: 0 });

export const useBranch = () => useQuery(branchQuery());
export const useProductsSuspense = (category?: number) =>
  useSuspenseQuery(productsQuery(category)).data;
export const useProductSuspense = (id: number) => useSuspenseQuery(productQuery(id)).data;
export const useCategoriesSuspense = () => useSuspenseQuery(categoriesQuery()).data;

/** Asks again for all that came from the branch that was left. */
export function forgetTheOldBranch(queryClient: QueryClient): Promise<void> {
  const branch = JSON.stringify(branchQuery().queryKey);
  return queryClient.invalidateQueries({
    predicate: (query) => JSON.stringify(query.queryKey) !== branch,
  });
}
