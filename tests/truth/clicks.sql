-- What the clicks example's outputs must hold, from the raw files alone. Variables: `events` (a file or glob of JSON
-- lines), `data` (the folder of the tables). The rules are those of examples/clicks/README.md, written down a second
-- time and in another language.
SET TimeZone = 'UTC';

CREATE TABLE lines AS
SELECT line, json_valid(line) AS valid, coalesce(json_type(CASE WHEN json_valid(line) THEN line END) = 'OBJECT', false) AS object
FROM read_csv(getvariable('events'), header = false, columns = {line: 'VARCHAR'}, delim = '\x01', quote = '', escape = '', strict_mode = false);

CREATE TABLE parsed AS
SELECT line, valid, object, unnest(from_json(CASE WHEN object THEN line END, '{
    "event_id": "VARCHAR", "ts": "VARCHAR", "kind": "VARCHAR", "user_id": "BIGINT", "session": "VARCHAR",
    "device_id": "BIGINT", "url": "VARCHAR", "user_agent": "VARCHAR", "status": "SMALLINT", "duration_ms": "INTEGER",
    "amount": "DECIMAL(12,2)"}'))
FROM lines;

-- A required field that was not read: is it absent, null, of another kind, or too large?
CREATE MACRO unread(line, field) AS CASE json_type(line, '$.' || field)
    WHEN 'NULL' THEN 'null_value' WHEN 'VARCHAR' THEN 'wrong_type' WHEN 'UBIGINT' THEN 'out_of_range'
    ELSE 'missing_field' END;

CREATE TABLE judged AS
SELECT * REPLACE (try_cast(ts AS TIMESTAMPTZ) AS ts),
    CASE
        WHEN NOT valid THEN 'bad_json'
        WHEN NOT object THEN 'not_an_object'
        WHEN ts IS NULL THEN unread(line, 'ts')
        WHEN try_cast(ts AS TIMESTAMPTZ) IS NULL THEN 'bad_timestamp'
        WHEN event_id IS NULL THEN unread(line, 'event_id')
        WHEN kind IS NULL THEN unread(line, 'kind')
        WHEN user_id IS NULL THEN unread(line, 'user_id')
        WHEN session IS NULL THEN unread(line, 'session')
        WHEN url IS NULL THEN unread(line, 'url')
        WHEN user_agent IS NULL THEN unread(line, 'user_agent')
        WHEN status IS NULL THEN unread(line, 'status')
        WHEN duration_ms IS NULL THEN unread(line, 'duration_ms')
    END AS undecoded,
    undecoded IS NULL AND regexp_matches(user_agent, 'Googlebot|bingbot|AhrefsBot|curl/') AS bot,
    undecoded IS NULL AND NOT bot AND NOT contains(url, '://') AS bad_url,
    undecoded IS NULL AND NOT bot AND NOT bad_url AND kind NOT IN ('view', 'purchase') AS unknown_kind
FROM parsed;

CREATE TABLE cleaned AS
SELECT * EXCLUDE (line, valid, object), regexp_extract(url, '://([^/?]*)', 1) AS host,
    regexp_extract(url, '://[^/?]*(/[^?]*)?', 1) AS path,
    nullif(list_aggregate(list_filter(string_split(regexp_extract(url, '\?(.*)$', 1), '&'),
        lambda parameter: parameter <> '' AND NOT regexp_matches(parameter, '^(utm_|gclid|fbclid)')), 'string_agg', '&'), '') AS query
FROM judged WHERE undecoded IS NULL AND NOT bot AND NOT bad_url AND NOT unknown_kind;

CREATE TABLE users AS FROM read_parquet(getvariable('data') || '/users.parquet');
CREATE TABLE urls AS FROM read_parquet(getvariable('data') || '/urls.parquet');
CREATE TABLE devices AS FROM read_parquet(getvariable('data') || '/devices.parquet');

CREATE TABLE joined AS
SELECT cleaned.kind, event_id, ts, cleaned.user_id, session, cleaned.device_id, host, cleaned.path, query, status,
    duration_ms, amount, users.country, users.plan, urls.category,
    ((price_cents::BIGINT * CASE users.plan WHEN 'plus' THEN 95 WHEN 'pro' THEN 85 ELSE 100 END) // 100)::INTEGER AS offer_cents,
    devices.os AS device_os, devices.brand AS device_brand
FROM cleaned
LEFT JOIN users ON users.user_id = cleaned.user_id
LEFT JOIN urls ON urls.path = cleaned.path
LEFT JOIN devices ON devices.device_id = cleaned.device_id;

CREATE VIEW expected_purchases AS SELECT * EXCLUDE kind FROM joined WHERE kind = 'purchase';
CREATE VIEW expected_views AS SELECT * EXCLUDE kind FROM joined WHERE kind = 'view';

CREATE TABLE expected_rejects AS
SELECT 'decode' AS stage, undecoded AS reason, count(*) AS count FROM judged WHERE undecoded IS NOT NULL GROUP BY ALL
UNION ALL SELECT 'clean', 'bad_url', count(*) FROM judged WHERE bad_url HAVING count(*) > 0
UNION ALL SELECT 'route', 'unknown_kind', count(*) FROM judged WHERE unknown_kind HAVING count(*) > 0;

CREATE TABLE expected_filtered AS
SELECT 'clean' AS stage, 'bot' AS reason, count(*) AS count FROM judged WHERE bot HAVING count(*) > 0;

CREATE TABLE expected_in AS SELECT count(*) AS count FROM lines;
