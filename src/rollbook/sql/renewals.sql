-- Renewals and deceased people among the staged rows of an upload (pipeline/renewals.py).

-- name: count
-- The members of the file by what their dates say, as they are after the merge. A person joined before
-- the last payment has renewed; early, where the payment came before the stored expiry date.
SELECT count(*) FILTER (WHERE is_new AND NOT is_renewal)::int AS new,
       count(*) FILTER (WHERE is_renewal)::int AS renewed,
       count(*) FILTER (WHERE is_renewal AND is_early)::int AS early,
       count(*) FILTER (WHERE expires < {today})::int AS expired
FROM (
    SELECT m.id_number IS NULL AS is_new,
           excluded.last_payment IS NOT NULL
           AND COALESCE(excluded.date_joined, m.date_joined) < excluded.last_payment AS is_renewal,
           m.expiry_date > excluded.last_payment
           AND (m.last_payment < excluded.last_payment) IS NOT FALSE AS is_early,
           {after_expiry} AS expires
    FROM staged AS excluded LEFT JOIN members AS m USING (id_number)
    WHERE m.id_number IS NULL
       OR takes_from_nobody(m.province, m.municipality, {province}, {municipality})
) AS found;

-- name: unstage_deceased
-- Take out the rows of people whom the voter roll calls deceased and who are no members.
DELETE FROM staged USING voter_roll_answers AS a
WHERE a.id_number = staged.id_number AND a.status = 'deceased'
  AND NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = staged.id_number)
RETURNING row_number;

-- name: end_deceased
-- Those who are members become inactive, no matter which status the file gives them.
UPDATE staged SET status = 'inactive'
FROM voter_roll_answers AS a
WHERE a.id_number = staged.id_number AND a.status = 'deceased';
