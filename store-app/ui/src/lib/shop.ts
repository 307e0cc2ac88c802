/** What the shop says about a product, as values: no markup, no requests. */

/** What a heading is about; it decides the colour. */
export type Trade = "data" | "bricks" | "other";

export function tradeOf(category: string): Trade {
  if (/\bbricks?\b/i.test(category)) return "bricks";
  if (/\bdata\b/i.test(category)) return "data";
  return "other";
}

/** Fewer than this, and the card says so. */
const FEW = 100;

export type Stock = { level: "none" | "few" | "many"; text: string };

export function stockOf(quantity: number): Stock {
  if (quantity <= 0) return { level: "none", text: "Out of stock" };
  if (quantity < FEW) return { level: "few", text: `Only ${quantity} left!` };
  return { level: "many", text: `${quantity.toLocaleString("en-US")} in stock` };
}

/** Splits a price as the API writes it, without making a fraction of it: `"1149.99"` is `["1,149", "99"]`. */
export function priceParts(price: string): { dollars: string; cents: string } {
  const [dollars = "0", cents = "00"] = price.split(".");
  return { dollars: dollars.replace(/\B(?=(\d{3})+$)/g, ","), cents: cents.padEnd(2, "0") };
}

export const UNKNOWN_PICTURE = "/images/products/unknown.svg";

/** The picture that a product names, or the one that bears its name. Only pictures of this shop: it works offline. */
export function pictureOf(product: { name: string; image_url: string }): string {
  if (/^\/images\/[\w./-]+$/.test(product.image_url)) return product.image_url;
  const slug = product.name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
  return slug ? `/images/products/${slug}.svg` : UNKNOWN_PICTURE;
}

/** Picks `count` products, one category after the other, so that each has a place in the window. */
export function featured<P extends { category_id: number }>(products: P[], count: number): P[] {
  const byCategory = new Map<number, P[]>();
  for (const product of products) {
    const shelf = byCategory.get(product.category_id);
    if (shelf) shelf.push(product);
    else byCategory.set(product.category_id, [product]);
  }
  const shelves = [...byCategory.values()];
  const longest = Math.max(0, ...shelves.map((shelf) => shelf.length));
  return Array.from({ length: longest }, (_, row) => shelves.flatMap((shelf) => shelf[row] ?? []))
    .flat()
    .slice(0, count);
}

/** How many products a page shows. */
export const PAGE = 48;

/** Says what is on a page, of which `found` are known: one more than a page holds if there is another. */
export function countOf(found: number, page: number): string {
  if (page === 1 && found <= PAGE) return `${found} ${found === 1 ? "product" : "products"}`;
  if (found === 0) return "No products";
  const before = (page - 1) * PAGE;
  return `Products ${before + 1} to ${before + Math.min(found, PAGE)}`;
}

/** Says how far away a time is: `"in 6 days"`. */
export function until(time: string, now: number): string {
  const minutes = Math.round((Date.parse(time) - now) / 60_000);
  const words = new Intl.RelativeTimeFormat("en-US", { numeric: "auto" });
  if (Math.abs(minutes) < 90) return words.format(minutes, "minute");
  if (Math.abs(minutes) < 48 * 60) return words.format(Math.round(minutes / 60), "hour");
  return words.format(Math.round(minutes / 60 / 24), "day");
}

/** A hue for a branch, so that two windows are told apart at a glance. */
export function hueOf(name: string): number {
  // FNV-1a: names that are alike get hues that are not.
  let hash = 0x811c9dc5;
  for (const letter of name) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  return (hash >>> 0) % 360;
}
