-- name: installation
-- What tells this record from another installation's, also after a restore: its account `folder`.
-- And whether its store was marked with it.
SELECT id, EXISTS (SELECT FROM store_mark) AS is_marked FROM users
WHERE is_system AND email = 'folder';

-- name: newest_files
-- What the store ought to hold, of the newest uploads. The folder of each is left out of no scope: a
-- service of the system asks whether they are there, and nobody reads them.
SELECT key FROM (
    SELECT unnest(array_remove(ARRAY[source_key, report_key, refused_key], NULL)) AS key, ordinal
    FROM (SELECT ordinal, source_key, report_key, refused_key FROM uploads
          WHERE source_key IS NOT NULL OR report_key IS NOT NULL
          ORDER BY ordinal DESC LIMIT 20) AS newest
) AS files
ORDER BY ordinal DESC LIMIT 20;

-- name: mark
-- The store is marked; only the first to say so changes a row, and others wait for its commit.
INSERT INTO store_mark DEFAULT VALUES ON CONFLICT DO NOTHING;
