-- What examples/ready-made/explode.toml must make of its orders. Variable: `events`.
CREATE TABLE orders AS
FROM read_json(getvariable('events'), format = 'newline_delimited', columns = {
    id: 'BIGINT', items: 'STRUCT(sku VARCHAR, quantity INTEGER)[]'});

CREATE TABLE expected_orders AS
SELECT id, (line - 1)::INTEGER AS line, items[line].sku AS sku, items[line].quantity AS quantity
FROM (SELECT id, items, unnest(generate_series(1, len(items))) AS line FROM orders)
UNION ALL
SELECT id, NULL, NULL, NULL FROM orders WHERE items IS NULL OR len(items) = 0;

CREATE TABLE expected_rejects AS SELECT '' AS stage, '' AS reason, 0 AS count WHERE false;

CREATE TABLE expected_filtered AS SELECT '' AS stage, '' AS reason, 0 AS count WHERE false;

CREATE TABLE expected_in AS SELECT count(*) AS count FROM orders;
