-- Renewals and deceased people among the staged rows of an upload (pipeline/renewals.py).

-- name: flags
-- What the dates of a row say of its member, as bits of a number, for the query ``existing`` of the merge:
-- 1 renewed and 2 expired, if the person were new; 4 renewed, 8 early and 16 expired, as the member is
-- after the merge. A person joined before the last payment has renewed; early, where the payment came
-- before the stored expiry date.
CASE WHEN excluded.date_joined < excluded.last_payment THEN 1 ELSE 0 END
| CASE WHEN (SELECT {after_expiry} FROM (SELECT (NULL::members).*) AS m) < {today} THEN 2 ELSE 0 END
| CASE WHEN NOT is_taken
        AND COALESCE(excluded.date_joined, m.date_joined) < excluded.last_payment
       THEN CASE WHEN m.expiry_date > excluded.last_payment
                  AND (m.last_payment < excluded.last_payment) IS NOT FALSE
                 THEN 12 ELSE 4 END
       ELSE 0 END
| CASE WHEN NOT is_taken AND {after_expiry} < {today} THEN 16 ELSE 0 END

-- name: count
-- The staged rows, and what their dates say if all their people are new.
SELECT count(*)::int AS rows,
       count(*) FILTER (WHERE excluded.date_joined < excluded.last_payment)::int AS renewed,
       count(*) FILTER (WHERE {after_expiry} < {today})::int AS expired
FROM staged AS excluded CROSS JOIN (SELECT (NULL::members).*) AS m;

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
