-- name: now
-- The present moment, not that of the transaction's beginning.
SELECT clock_timestamp() AS now;

-- name: today
-- Today's date in South Africa (UTC+2, no daylight saving), where the members live.
SELECT (now() AT TIME ZONE 'UTC' + interval '2 hours')::date AS today;
