-- name: installation
-- The installation's id, which is the same after a restore: that of its account `folder`. And whether
-- the store was marked with it.
SELECT id, EXISTS (SELECT FROM store_mark) AS is_marked FROM users
WHERE is_system AND email = 'folder';

-- name: newest_files
-- Files of the newest uploads that the store should hold. No scope applies: the system only checks that
-- they exist, and no user reads them.
SELECT key FROM (
    SELECT unnest(array_remove(ARRAY[source_key, report_key, refused_key], NULL)) AS key, ordinal
    FROM (SELECT ordinal, source_key, report_key, refused_key FROM uploads
          WHERE source_key IS NOT NULL OR report_key IS NOT NULL
          ORDER BY ordinal DESC LIMIT 20) AS newest
) AS files
ORDER BY ordinal DESC LIMIT 20;

-- name: mark
-- Note that the store is marked; only the first process changes a row, and others wait for its commit.
INSERT INTO store_mark DEFAULT VALUES ON CONFLICT DO NOTHING;
