-- The opening stock. Ids are written out, so that links and tests can rely on them; the sequences go on behind them.

INSERT INTO categories (id, name, description) VALUES
    (1, 'Premium Data', 'Bytes with a view. Every record is hand-picked, gently parsed and served at room temperature.'),
    (2, 'Vintage Data', 'Formats from a time when a megabyte was an opinion. Some assembly, and an old decoder, required.'),
    (3, 'Artisan Bricks', 'Bricks with a story. Most of the story is about clay, but it is told very well.'),
    (4, 'Industrial Bricks', 'Bricks with a job. They do not tell stories; they hold up the people who do.');

INSERT INTO products (id, name, description, price, image_url, category_id) VALUES
    (1, 'Premium JSON Blob', 'One object, nested eleven levels deep, with a trailing comma you will find in production.', 49.99, '/images/products/premium-json-blob.svg', 1),
    (2, 'Enterprise Parquet File', 'Columnar, compressed and approved by four committees. The schema is under a separate contract.', 199.99, '/images/products/enterprise-parquet-file.svg', 1),
    (3, 'Organic CSV Dataset', 'Free-range commas, no added quotes. May contain traces of semicolons.', 29.99, '/images/products/organic-csv-dataset.svg', 1),
    (4, 'Delta Lake Subscription', 'A lake that remembers every version of itself. Swim in last Tuesday whenever you like.', 99.99, '/images/products/delta-lake-subscription.svg', 1),
    (5, 'Vintage XML Dataset', 'Twelve kilobytes of angle brackets around the number 7. Namespaces still in the original box.', 19.99, '/images/products/vintage-xml-dataset.svg', 2),
    (6, 'Classic SQL Dump', 'Begins with DROP TABLE, as the classics do. Please read it before you run it.', 39.99, '/images/products/classic-sql-dump.svg', 2),
    (7, 'Retro Fixed-Width File', 'Eighty columns, no exceptions. Names longer than ten letters were shortened at the facto', 14.99, '/images/products/retro-fixed-width-file.svg', 2),
    (8, 'Artisan Red Brick', 'Fired slowly by someone with a beard. Pairs well with mortar and other bricks.', 5.99, '/images/products/artisan-red-brick.svg', 3),
    (9, 'Reclaimed Vintage Brick', 'Used to be part of a mainframe hall. Still warm, and still waiting for the batch job to end.', 12.99, '/images/products/reclaimed-vintage-brick.svg', 3),
    (10, 'Designer Glass Brick', 'Full observability: you can see exactly what is wrong behind it.', 24.99, '/images/products/designer-glass-brick.svg', 3),
    (11, 'Industrial Cinder Block', 'Two holes, zero dependencies, no breaking changes since 1890.', 3.49, '/images/products/industrial-cinder-block.svg', 4),
    (12, 'Fire-Resistant Brick', 'Survives launch days, load tests and one careless DELETE without a WHERE.', 8.99, '/images/products/fire-resistant-brick.svg', 4),
    (13, 'Bulk Paver Brick (100 pack)', 'A hundred identical bricks. Finally a batch insert you can stand on.', 149.99, '/images/products/bulk-paver-brick-100-pack.svg', 4);

INSERT INTO inventory (product_id, quantity) VALUES
    (1, 1000),
    (2, 50),
    (3, 5000),
    (4, 999),
    (5, 200),
    (6, 75),
    (7, 300),
    (8, 10000),
    (9, 150),
    (10, 500),
    (11, 25000),
    (12, 3000),
    (13, 100);

SELECT setval(pg_get_serial_sequence('categories', 'id'), (SELECT max(id) FROM categories));
SELECT setval(pg_get_serial_sequence('products', 'id'), (SELECT max(id) FROM products));
