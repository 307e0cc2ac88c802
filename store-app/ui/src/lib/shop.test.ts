import { describe, expect, test } from "vitest";
import {
  countOf,
  featured,
  PAGE,
  pictureOf,
  priceParts,
  stockOf,
  tradeOf,
  UNKNOWN_PICTURE,
  until,
} from "./shop";

test("stock is told in three ways", () => {
  for (const [quantity, level, text] of [
    [-1, "none", "Out of stock"],
    [0, "none", "Out of stock"],
    [1, "few", "Only 1 left!"],
    [99, "few", "Only 99 left!"],
    [100, "many", "100 in stock"],
    [25_000, "many", "25,000 in stock"],
  ] as const) {
    expect(stockOf(quantity)).toEqual({ level, text });
  }
});

test("what is on a page is counted, and one product more is not on it", () => {
  expect(countOf(0, 1)).toBe("0 products");
  expect(countOf(1, 1)).toBe("1 product");
  expect(countOf(PAGE, 1)).toBe("48 products");
  expect(countOf(PAGE + 1, 1)).toBe("Products 1 to 48");
  expect(countOf(2, 3)).toBe("Products 97 to 98");
  expect(countOf(0, 3)).toBe("No products");
});

test("a price is never made a fraction of", () => {
  expect(priceParts("49.99")).toEqual({ dollars: "49", cents: "99" });
  expect(priceParts("1234567.5")).toEqual({ dollars: "1,234,567", cents: "50" });
  // More digits than a double has.
  expect(priceParts("9007199254740993.01").dollars).toBe("9,007,199,254,740,993");
  expect(priceParts("3")).toEqual({ dollars: "3", cents: "00" });
});

describe("the picture", () => {
  const product = (name: string, image_url = "") => ({ name, image_url });

  test("is the one that the product names", () => {
    expect(pictureOf(product("Brick", "/images/products/a.svg"))).toBe("/images/products/a.svg");
  });

  test("is else the one that bears its name", () => {
    expect(pictureOf(product("Bulk Paver Brick (100 pack)"))).toBe(
      "/images/products/bulk-paver-brick-100-pack.svg",
    );
    expect(pictureOf(product("???"))).toBe(UNKNOWN_PICTURE);
  });

  test("never comes from elsewhere", () => {
    for (const url of [
      "https://elsewhere.example/x.png",
      "//elsewhere.example/x.png",
      "javascript:alert(1)",
    ]) {
      expect(pictureOf(product("Brick", url))).toBe("/images/products/brick.svg");
    }
  });
});

test("each category has a place in the window before one has two", () => {
  const products = [1, 1, 1, 1, 2, 2, 3].map((category_id, id) => ({ id, category_id }));
  expect(featured(products, 6).map((product) => product.id)).toEqual([0, 4, 6, 1, 5, 2]);
  expect(featured([], 6)).toEqual([]);
});

test("a heading's trade gives its colour", () => {
  expect(["Premium Data", "Artisan Bricks", "Brick Data", "Database Gravel"].map(tradeOf)).toEqual([
    "data",
    "bricks",
    "bricks",
    "other",
  ]);
});

test("a time is told in the unit that a person would use", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  expect(until("2026-01-01T00:30:00Z", now)).toBe("in 30 minutes");
  expect(until("2026-01-01T12:00:00Z", now)).toBe("in 12 hours");
  expect(until("2026-01-08T00:00:00Z", now)).toBe("in 7 days");
});
