-- What examples/ready-made/url.toml must make of its orders. Variable: `events`.
CREATE TABLE orders AS
FROM read_json(getvariable('events'), format = 'newline_delimited', columns = { id: 'BIGINT', url: 'VARCHAR' });

CREATE MACRO tracks(parameter) AS len(list_filter(
    ['utm_', 'gclid', 'gbraid', 'wbraid', 'dclid', 'fbclid', 'msclkid', 'ttclid', 'twclid', 'mc_eid', 'mc_cid', 'igshid'],
    lambda name: starts_with(parameter, name))) > 0;

-- Scheme, authority, path, query and fragment by the expression of RFC 3986, appendix B.
CREATE TABLE split AS
SELECT id, url, regexp_extract(url, '^([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?([^#]*))?(#(.*))?$',
    ['scheme', 'authority', 'path', 'mark', 'query', 'hash', 'fragment']) AS part
FROM orders;

CREATE TABLE named AS
SELECT id, url, part, regexp_extract(part.authority, '^(.*@)?(\[[^\]]*\]|[^:]*)(:([0-9]*))?$', ['user', 'host', 'colon', 'port']) AS place,
    list_filter(string_split(part.query, '&'), lambda p: p <> '') AS parameters
FROM split;

CREATE TABLE expected_orders AS
SELECT id, url, lower(part.scheme) AS scheme, lower(place.host) AS host, TRY_CAST(nullif(place.port, '') AS INTEGER) AS port,
    part.path AS path, nullif(array_to_string(list_filter(parameters, lambda p: NOT tracks(p)), '&'), '') AS query,
    CASE WHEN part.hash <> '' THEN part.fragment END AS fragment,
    part.scheme || '://' || part.authority || part.path
        || coalesce('?' || nullif(array_to_string(list_filter(parameters, lambda p: NOT tracks(p)), '&'), ''), '') || part.hash AS address,
    url_decode(replace(list_filter(parameters, lambda p: starts_with(p, 'q=') OR p = 'q')[1][3:], '+', ' ')) AS search
FROM named WHERE place.host <> '';

CREATE TABLE expected_rejects AS
SELECT 'url' AS stage, 'bad_url' AS reason, count(*) AS count FROM named WHERE place.host = '' HAVING count > 0;

CREATE TABLE expected_filtered AS SELECT '' AS stage, '' AS reason, 0 AS count WHERE false;

CREATE TABLE expected_in AS SELECT count(*) AS count FROM orders;
