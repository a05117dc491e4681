-- What examples/ready-made/clean.toml must make of its orders. Variable: `events`.
-- Casts say which texts they read before DuckDB reads them: its own casts trim, and round.
SET TimeZone = 'UTC';

CREATE TABLE orders AS
FROM read_json(getvariable('events'), format = 'newline_delimited', columns = {
    id: 'BIGINT', email: 'VARCHAR', age: 'VARCHAR', placed: 'VARCHAR', price: 'VARCHAR', country: 'VARCHAR'});

CREATE TABLE cast_ AS
SELECT id, lower(trim(email)) AS email, nullif(upper(trim(country)), '') AS country,
    CASE WHEN regexp_full_match(trim(age), '[+-]?[0-9]+') THEN TRY_CAST(trim(age) AS SMALLINT) END AS age,
    CASE WHEN regexp_full_match(placed, '\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)')
        THEN CAST(TRY_CAST(placed AS TIMESTAMPTZ) AS TIMESTAMPTZ) END AS placed,
    CASE WHEN regexp_full_match(price, '[+-]?[0-9]+(\.[0-9]{1,2}0*)?') THEN TRY_CAST(price AS DECIMAL(8, 2)) END AS price
FROM orders;

-- Columns are cleaned in the order of their names; the first thing that is wrong with a row is its reason.
CREATE TABLE judged AS
SELECT id, email, CASE WHEN age BETWEEN 0 AND 120 THEN age END AS age, placed, price, coalesce(country, '??') AS country,
    CASE
        WHEN email IS NULL THEN 'missing'
        WHEN NOT regexp_full_match(email, '[^@ ]+@[^@ ]+') THEN 'no_match'
        WHEN placed IS NULL THEN 'bad_cast'
        WHEN placed < TIMESTAMPTZ '2025-01-01 00:00:00Z' THEN 'out_of_range'
        WHEN price IS NULL THEN 'bad_cast'
        WHEN price < 0.01 THEN 'out_of_range'
    END AS rejected
FROM cast_;

CREATE TABLE expected_orders AS SELECT * EXCLUDE (rejected) FROM judged WHERE rejected IS NULL;

CREATE TABLE expected_rejects AS
SELECT 'clean' AS stage, rejected AS reason, count(*) AS count FROM judged WHERE rejected IS NOT NULL GROUP BY ALL;

CREATE TABLE expected_filtered AS SELECT '' AS stage, '' AS reason, 0 AS count WHERE false;

CREATE TABLE expected_in AS SELECT count(*) AS count FROM orders;
