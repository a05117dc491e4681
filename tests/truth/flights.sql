-- What the flights example's outputs must hold, from the raw files alone. Variables: `events`, `data` (a folder).
-- The rules are those of examples/flights/README.md, written down a second time and in another language.
SET TimeZone = 'UTC';

CREATE TABLE flights AS
SELECT *, make_timestamptz(year(time_hour), month(time_hour), day(time_hour), hour(time_hour), sched_dep_time % 100, 0.0) AS scheduled_at
FROM read_csv(getvariable('events'), header = true, nullstr = '', columns = {
    year: 'INTEGER', month: 'INTEGER', day: 'INTEGER', dep_time: 'INTEGER', sched_dep_time: 'INTEGER',
    dep_delay: 'INTEGER', arr_time: 'INTEGER', sched_arr_time: 'INTEGER', arr_delay: 'INTEGER', carrier: 'VARCHAR',
    flight: 'INTEGER', tailnum: 'VARCHAR', origin: 'VARCHAR', dest: 'VARCHAR', air_time: 'INTEGER',
    distance: 'INTEGER', hour: 'INTEGER', minute: 'INTEGER', time_hour: 'TIMESTAMPTZ'});

CREATE TABLE airlines AS FROM read_csv(getvariable('data') || '/airlines.csv', header = true, all_varchar = true);
CREATE TABLE airports AS FROM read_csv(getvariable('data') || '/airports.csv', header = true, all_varchar = true);
CREATE TABLE planes AS FROM read_csv(getvariable('data') || '/planes.csv', header = true, all_varchar = true, nullstr = '');
CREATE TABLE weather AS FROM read_parquet(getvariable('data') || '/weather.parquet');

CREATE MACRO minutes(hhmm) AS (hhmm // 100) * 60 + hhmm % 100;

-- What becomes of each flight: at most one of `rejected` and `filtered` is not null.
CREATE TABLE judged AS
SELECT *,
    dep_time IS NULL OR dep_delay IS NULL AS cancelled,
    CASE
        WHEN dep_time IS NULL OR dep_delay IS NULL THEN NULL
        WHEN (minutes(sched_dep_time) + dep_delay - minutes(dep_time)) % 1440 <> 0 THEN 'clock_mismatch'
        WHEN arr_time IS NULL THEN 'no_arrival'
    END AS rejected,
    CASE WHEN dep_time IS NOT NULL AND dep_delay IS NOT NULL AND arr_time IS NOT NULL AND arr_delay IS NULL THEN 'diverted' END AS filtered
FROM flights;

CREATE TABLE joined AS
SELECT judged.carrier, airlines.name AS airline, judged.flight, judged.tailnum,
    planes.manufacturer, judged.year - planes.year::INTEGER AS plane_age,
    judged.origin, origin.name AS origin_name, judged.dest, destination.name AS dest_name,
    scheduled_at,
    CASE WHEN NOT cancelled THEN scheduled_at + to_minutes(dep_delay) END AS departed_at,
    dep_delay, arr_delay, arr_time, air_time, distance, (distance * 60) // nullif(air_time, 0) AS speed,
    destination.tz::INTEGER AS dest_tz, weather.temp, weather.wind_speed, weather.visib, cancelled
FROM judged
JOIN airlines ON airlines.carrier = judged.carrier
JOIN airports AS origin ON origin.faa = judged.origin
LEFT JOIN airports AS destination ON destination.faa = judged.dest
LEFT JOIN planes ON planes.tailnum = judged.tailnum
LEFT JOIN weather ON weather.origin = judged.origin AND weather.time_hour = judged.time_hour
WHERE rejected IS NULL AND filtered IS NULL;

-- The recorded time of arrival is local: of the days on which the flight may have come, the one right after departure.
CREATE TABLE complete AS
SELECT * EXCLUDE (arr_time, dest_tz), (
    SELECT min(moment) FROM (
        SELECT time_bucket(INTERVAL 1 day, departed_at) + to_minutes(minutes(arr_time) - dest_tz * 60 + day * 1440) AS moment
        FROM unnest([-2, -1, 0, 1, 2]) AS days(day)
    ) WHERE moment >= departed_at
) AS arrived_at
FROM joined;

CREATE TABLE expected_on_time AS
SELECT carrier, airline, flight, tailnum, manufacturer, plane_age, origin, origin_name, dest, dest_name, scheduled_at,
    departed_at, arrived_at, dep_delay, arr_delay, air_time, distance, speed, temp, wind_speed, visib
FROM complete WHERE NOT cancelled AND arr_delay < 15;

CREATE TABLE expected_delayed AS
SELECT carrier, airline, flight, tailnum, manufacturer, plane_age, origin, origin_name, dest, dest_name, scheduled_at,
    departed_at, arrived_at, dep_delay, arr_delay, air_time, distance, speed, temp, wind_speed, visib
FROM complete WHERE NOT cancelled AND arr_delay >= 15;

CREATE TABLE expected_cancelled AS
SELECT carrier, airline, flight, tailnum, origin, origin_name, dest, dest_name, scheduled_at, distance, temp, wind_speed, visib
FROM complete WHERE cancelled;

CREATE TABLE expected_rejects AS
SELECT 'clean' AS stage, rejected AS reason, count(*) AS count FROM judged WHERE rejected IS NOT NULL GROUP BY ALL;

CREATE TABLE expected_filtered AS
SELECT 'clean' AS stage, filtered AS reason, count(*) AS count FROM judged WHERE filtered IS NOT NULL GROUP BY ALL;

CREATE TABLE expected_in AS SELECT count(*) AS count FROM flights;
