-- What examples/ready-made/mask.toml must make of its orders, under the key of masked.py. Variable: `events`. Table
-- `masked`, which masked.py makes: by `way` and `value` what the plugin must put in its place.
CREATE TABLE orders AS
FROM read_json(getvariable('events'), format = 'newline_delimited', columns = {
    id: 'BIGINT', user_id: 'BIGINT', email: 'VARCHAR', ip: 'VARCHAR', note: 'VARCHAR', country: 'VARCHAR'});

CREATE TABLE expected_orders AS
SELECT id, users.masked::BIGINT AS user_id, emails.masked AS email, ips.masked AS ip, NULL::VARCHAR AS note,
    countries.masked AS country
FROM orders
LEFT JOIN masked AS users ON users.way = 'hash' AND users.value = orders.user_id::VARCHAR
LEFT JOIN masked AS emails ON emails.way = 'tokenize' AND emails.value = orders.email
LEFT JOIN masked AS countries ON countries.way = 'domain' AND countries.value = orders.country
LEFT JOIN masked AS ips ON ips.way = 'ip' AND ips.value = orders.ip
WHERE orders.ip IS NULL OR ips.masked IS NOT NULL;

CREATE TABLE expected_rejects AS
SELECT 'mask' AS stage, 'bad_ip' AS reason, count(*) AS count FROM orders
LEFT JOIN masked AS ips ON ips.way = 'ip' AND ips.value = orders.ip
WHERE orders.ip IS NOT NULL AND ips.masked IS NULL HAVING count > 0;

CREATE TABLE expected_filtered AS SELECT '' AS stage, '' AS reason, 0 AS count WHERE false;

CREATE TABLE expected_in AS SELECT count(*) AS count FROM orders;
