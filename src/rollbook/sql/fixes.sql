-- name: keep_cells
-- The cells of the rows that can be fixed.
COPY fixable_rows (upload_id, row_number, cells) FROM STDIN (FORMAT csv);

-- name: forget_cells
-- Remove the cells of uploads: their retention has ended, or an earlier attempt wrote them.
DELETE FROM fixable_rows WHERE upload_id = ANY(%(ids)s);

-- name: remove_of
-- Remove what belongs to the rows of some uploads.
WITH cells AS (DELETE FROM fixable_rows WHERE upload_id = ANY(%(ids)s))
DELETE FROM row_fixes WHERE upload_id = ANY(%(ids)s);

-- name: note_fixed
-- Which rows a follow-up has taken in: in the transaction that ends it.
UPDATE row_fixes AS f SET is_fixed = true
FROM upload_rows AS r
WHERE f.upload_id = %(upload_id)s AND r.upload_id = f.upload_id AND r.row_number = f.row_number
  AND r.outcome = ANY(%(taken)s);

-- name: page
-- The next rows that can be fixed, in the order of the file, each with its outcome and with the
-- follow-up that has fixed it or is about to. That is looked up for these rows only: right after a
-- big upload its tables have no statistics, and the planner would do it for all rows before the limit.
WITH wanted AS MATERIALIZED (
    SELECT c.upload_id, c.row_number, c.cells, r.outcome, r.duplicate_of, r.problems
    FROM fixable_rows AS c
    JOIN upload_rows AS r ON r.upload_id = c.upload_id AND r.row_number = c.row_number
    WHERE c.upload_id = %(id)s AND c.row_number > %(after)s
      AND CASE %(attention)s::text
          WHEN 'refused' THEN r.outcome = ANY(%(refused)s)
          WHEN 'doubtful' THEN COALESCE(r.problems @> '[{"severity": "warning"}]', false)
          WHEN 'left_out' THEN EXISTS (
              SELECT FROM jsonb_to_recordset(r.problems) AS problem(code text)
              WHERE problem.code = ANY(%(left_out)s))
          ELSE true END
      AND (NOT %(open)s OR NOT EXISTS (
          SELECT FROM live_fixes AS f WHERE f.mends = c.upload_id AND f.mends_row = c.row_number))
    ORDER BY c.row_number OFFSET %(skip)s LIMIT %(limit)s
)
SELECT w.row_number, w.cells, w.outcome, w.duplicate_of, w.problems, f.upload_id AS fixed_by,
       f.is_fixed
FROM wanted AS w
LEFT JOIN LATERAL (
    SELECT upload_id, is_fixed FROM live_fixes
    WHERE mends = w.upload_id AND mends_row = w.row_number ORDER BY ordinal DESC LIMIT 1
) AS f ON true
ORDER BY w.row_number;

-- name: count
-- How many rows can be fixed, by what the page's filters ask for.
SELECT count(*)::int AS "any",
       count(*) FILTER (WHERE r.outcome = ANY(%(refused)s))::int AS refused,
       count(*) FILTER (WHERE COALESCE(r.problems @> '[{"severity": "warning"}]', false))::int
           AS doubtful,
       count(*) FILTER (WHERE EXISTS (
           SELECT FROM jsonb_to_recordset(r.problems) AS problem(code text)
           WHERE problem.code = ANY(%(left_out)s)))::int AS left_out
FROM fixable_rows AS c
JOIN upload_rows AS r ON r.upload_id = c.upload_id AND r.row_number = c.row_number
WHERE c.upload_id = %(id)s
  AND (NOT %(open)s OR NOT EXISTS (
      SELECT FROM live_fixes AS f WHERE f.mends = c.upload_id AND f.mends_row = c.row_number));

-- name: facets
-- Equal values that have a problem, the most frequent first; of one column or all. That a place is
-- another office's follows from what it was read as, so another problem of the value is named before.
-- Rows that a follow-up has fixed or is about to fix don't count, nor do repeats: replacing a value
-- changes none of them.
SELECT problem.column, problem.value, count(DISTINCT c.row_number)::int AS rows,
       (array_agg(problem.code ORDER BY problem.code = 'other_office', problem.severity,
                  problem.code))[1] AS code,
       min(problem.severity) AS severity, min(problem.kept) AS kept
FROM fixable_rows AS c
JOIN upload_rows AS r ON r.upload_id = c.upload_id AND r.row_number = c.row_number
CROSS JOIN LATERAL jsonb_to_recordset(r.problems)
    AS problem("column" text, value text, code text, severity text, kept text)
WHERE c.upload_id = %(id)s AND problem.value IS NOT NULL AND r.outcome <> 'duplicate'
  AND (%(column)s::text IS NULL OR problem.column = %(column)s) AND problem.column IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM live_fixes AS f WHERE f.mends = c.upload_id AND f.mends_row = c.row_number)
GROUP BY problem.column, problem.value
HAVING count(DISTINCT c.row_number) >= %(least)s
ORDER BY rows DESC, problem.column, problem.value LIMIT %(limit)s;

-- name: by_upload
-- How the upload's cells are read, for the process that checks or writes fixed rows. No scope applies:
-- the API has looked the upload up in the reader's.
SELECT id, province, municipality, empty_text, created_at, grid FROM uploads WHERE id = %(id)s;

-- name: cells_of
-- The cells of some rows.
SELECT row_number, cells FROM fixable_rows
WHERE upload_id = %(id)s AND row_number = ANY(%(rows)s) ORDER BY row_number;

-- name: wanted
-- The rows that a follow-up is to hold: the named ones, and those with a value that is replaced
-- wherever it has a problem, unless they are to be left or another follow-up has them. A repeat is sent
-- only by its number: it may write over what the first of its rows says. The rows of the upload that an
-- earlier request of the same key has made (`earlier`) count as free, so that it is recognised.
SELECT c.row_number, c.cells, r.outcome, r.problems
FROM fixable_rows AS c
JOIN upload_rows AS r ON r.upload_id = c.upload_id AND r.row_number = c.row_number
WHERE c.upload_id = %(id)s
  AND (c.row_number = ANY(%(rows)s)
       OR (EXISTS (SELECT FROM unnest(%(matches)s::jsonb[]) AS wanted WHERE r.problems @> wanted)
           AND r.outcome <> 'duplicate' AND c.row_number <> ALL(%(leave)s)
           AND NOT EXISTS (
               SELECT FROM live_fixes AS f
               WHERE f.mends = c.upload_id AND f.mends_row = c.row_number
                 AND f.upload_id IS DISTINCT FROM %(earlier)s::uuid)))
ORDER BY c.row_number;

-- name: sent_before
-- A follow-up with the same rows, which the same person has sent and which is under way or has taken
-- all of them in.
SELECT * FROM uploads
WHERE mends = %(mends)s AND file_sha256 = %(file_sha256)s AND owner_id = %(owner_id)s
  AND (status IN ('pending', 'processing')
       OR (status = 'completed' AND undone_at IS NULL
           AND NOT EXISTS (SELECT FROM row_fixes AS f
                           WHERE f.upload_id = uploads.id AND NOT f.is_fixed)))
ORDER BY ordinal DESC LIMIT 1;

-- name: taken
-- The follow-up that holds the first of these rows, who sent it, and all of the rows that others hold.
SELECT (array_agg(f.upload_id ORDER BY f.mends_row))[1] AS upload_id,
       (array_agg(users.email ORDER BY f.mends_row))[1] AS email,
       array_agg(DISTINCT f.mends_row) AS rows
FROM live_fixes AS f JOIN users ON users.id = f.owner_id
WHERE f.mends = %(mends)s AND f.mends_row = ANY(%(rows)s)
HAVING count(*) > 0;

-- name: root
-- The upload at the beginning of the follow-ups that have led to this one.
WITH RECURSIVE chain AS (
    SELECT id, mends, 0 AS steps FROM uploads WHERE id = %(id)s
    UNION ALL
    SELECT u.id, u.mends, chain.steps + 1 FROM chain JOIN uploads AS u ON u.id = chain.mends
)
SELECT id FROM chain ORDER BY steps DESC LIMIT 1;

-- name: claimed
-- The rows that a follow-up was sent for, in the order of its file.
SELECT mends_row FROM row_fixes WHERE upload_id = %(upload_id)s AND mends = %(mends)s
ORDER BY row_number;

-- name: take
-- The rows are the follow-up's, in the order of its file, whose first row is its header row; also in
-- the other uploads that have the same row: those that it was sent from, and follow-ups that have
-- refused it.
WITH RECURSIVE up AS (
    SELECT wanted.place + 1 AS own, %(mends)s::uuid AS upload_id, wanted.number AS row_number
    FROM unnest(%(rows)s::int[]) WITH ORDINALITY AS wanted(number, place)
    UNION
    SELECT up.own, f.mends, f.mends_row
    FROM up JOIN row_fixes AS f ON f.upload_id = up.upload_id AND f.row_number = up.row_number
), family AS (
    SELECT own, upload_id, row_number FROM up
    UNION
    SELECT family.own, f.upload_id, f.row_number
    FROM family
    JOIN row_fixes AS f ON f.mends = family.upload_id AND f.mends_row = family.row_number
    WHERE f.upload_id <> %(upload_id)s
)
INSERT INTO row_fixes (upload_id, row_number, mends, mends_row)
SELECT %(upload_id)s, own, upload_id, row_number FROM family
ON CONFLICT DO NOTHING;

-- name: fixed
-- How many rows of an upload its follow-ups have taken in, and how many of these were refused.
SELECT count(*)::int AS fixed, count(*) FILTER (WHERE r.outcome = ANY(%(refused)s))::int AS refused
FROM (SELECT DISTINCT mends_row FROM live_fixes WHERE mends = %(id)s AND is_fixed) AS done
JOIN upload_rows AS r ON r.upload_id = %(id)s AND r.row_number = done.mends_row;

-- name: was_seen
-- Whether the reader has seen whole values of the upload within the last minutes.
SELECT EXISTS (SELECT FROM audit_entries
               WHERE job_id = %(job_id)s AND user_id = %(user_id)s AND act = 'view_rows'
                 AND at > now() - interval '10 minutes') AS was_seen;
