-- Takes back the opening stock and nothing else: fails, rather than delete it, when somebody's product is in one of
-- these categories.

DELETE FROM inventory WHERE product_id BETWEEN 1 AND 13;
DELETE FROM products WHERE id BETWEEN 1 AND 13;
DELETE FROM categories WHERE id BETWEEN 1 AND 4;
