/** What the shop asks the store for: a typed hook for each question, over the generated options. */
import { type QueryKey, queryOptions, useQuery, useSuspenseQuery } from "@tanstack/react-query";
import {
  getBranchOptions,
  getProductOptions,
  listCategoriesOptions,
  listProductsOptions,
} from "@/api/@tanstack/react-query.gen";
import { PAGE } from "./shop";

/** Often enough that a person who has just rotated a password sees it; the database is not asked. */
const BRANCH_PAUSE = 1_500;

/** What the address says of the products to show; the first page goes without saying. */
export type Filter = { category?: number; page?: number };

/** A product of its own, by id. */
export const productQuery = (id: number) => getProductOptions({ path: { id } });
/** The first products of all, as many as the store gives at once. */
export const productsQuery = () => listProductsOptions();
/** A page of the products of a category, or of all. */
export const shelfQuery = ({ category, page = 1 }: Filter) =>
  listProductsOptions({
    // One more than is shown tells whether there is another page.
    query: { category_id: category, limit: PAGE + 1, offset: (page - 1) * PAGE },
  });
export const categoriesQuery = () => listCategoriesOptions();
/** Whose data is shown, asked over and over. */
export const branchQuery = () =>
  queryOptions({ ...getBranchOptions(), refetchInterval: BRANCH_PAUSE, staleTime: 0 });

const BRANCH_KEY = JSON.stringify(branchQuery().queryKey);
/** All other answers are out of the branch's database. */
export const isBranchQuery = (query: { queryKey: QueryKey }) =>
  JSON.stringify(query.queryKey) === BRANCH_KEY;

export const useBranch = () => useQuery(branchQuery());
export const useProductsSuspense = () => useSuspenseQuery(productsQuery()).data;
export const useShelfSuspense = (filter: Filter) => useSuspenseQuery(shelfQuery(filter)).data;
/** What another part of the page has asked for: it does not ask itself. */
export const useKnownShelf = (filter: Filter) =>
  useQuery({ ...shelfQuery(filter), enabled: false }).data;
export const useKnownCategories = () => useQuery({ ...categoriesQuery(), enabled: false }).data;
export const useProductSuspense = (id: number) => useSuspenseQuery(productQuery(id)).data;
export const useCategoriesSuspense = () => useSuspenseQuery(categoriesQuery()).data;
