DROP TABLE inventory;
DROP TABLE products;
DROP TABLE categories;
