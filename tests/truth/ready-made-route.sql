-- What examples/ready-made/route.toml must make of its orders: its rules are DuckDB's SQL as they stand. Variable: `events`.
CREATE TABLE orders AS
FROM read_json(getvariable('events'), format = 'newline_delimited', columns = {
    id: 'BIGINT', kind: 'VARCHAR', country: 'VARCHAR', user_id: 'BIGINT',
    items: 'STRUCT(sku VARCHAR, quantity INTEGER)[]'});

CREATE TABLE judged AS
SELECT *, CASE
    WHEN kind = 'refund' THEN 'refund'
    WHEN items IS NULL THEN 'nothing_ordered'
    WHEN kind = 'purchase' AND (lower(trim(country)) IN ('de', 'fr', 'gb') OR user_id % 5 = 1) THEN 'purchases'
    WHEN kind LIKE 'v_e%' AND country IS NOT NULL THEN 'views'
    ELSE 'others' END AS place
FROM orders;

CREATE TABLE expected_purchases AS SELECT id, kind, country, user_id FROM judged WHERE place = 'purchases';
CREATE TABLE expected_views AS SELECT id, kind, country, user_id FROM judged WHERE place = 'views';
CREATE TABLE expected_others AS SELECT id, kind, country, user_id FROM judged WHERE place = 'others';

CREATE TABLE expected_rejects AS
SELECT 'route' AS stage, 'refund' AS reason, count(*) AS count FROM judged WHERE place = 'refund' HAVING count > 0;

CREATE TABLE expected_filtered AS
SELECT 'route' AS stage, 'nothing_ordered' AS reason, count(*) AS count FROM judged WHERE place = 'nothing_ordered' HAVING count > 0;

CREATE TABLE expected_in AS SELECT count(*) AS count FROM orders;
