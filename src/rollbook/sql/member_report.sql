-- Reports of the members, always within the reader's scope (members/report.py).

-- name: by_field
-- How many members have each value of some fields; the field is the name of its group.
SELECT CASE WHEN grouping(province) = 0 THEN 'province' WHEN grouping(municipality) = 0 THEN 'municipality'
            WHEN grouping(ward) = 0 THEN 'ward' WHEN grouping(status) = 0 THEN 'status' ELSE 'all' END AS field,
       COALESCE(province, municipality, ward, status) AS value, count(*)::int AS members
FROM members AS m
WHERE in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
GROUP BY GROUPING SETS ((province), (municipality), (ward), (status), ())
ORDER BY field, members DESC, value;

-- name: expiring
-- How many memberships have ended, or end within some days; a later group doesn't hold an earlier one.
SELECT count(*) FILTER (WHERE expiry_date < %(today)s)::int AS expired,
       count(*) FILTER (WHERE expiry_date >= %(today)s AND expiry_date < %(today)s + 30)::int AS within_30,
       count(*) FILTER (WHERE expiry_date >= %(today)s + 30 AND expiry_date < %(today)s + 60)::int AS within_60,
       count(*) FILTER (WHERE expiry_date >= %(today)s + 60 AND expiry_date < %(today)s + 90)::int AS within_90,
       count(*) FILTER (WHERE expiry_date >= %(today)s + 90)::int AS later,
       count(*) FILTER (WHERE expiry_date IS NULL)::int AS unknown
FROM members AS m
WHERE in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s);

-- name: by_month
-- Members by the month in which they joined, and by that of a last payment after they had joined; of the
-- last months, oldest first.
WITH months AS (
    SELECT generate_series(date_trunc('month', %(today)s::timestamp) - make_interval(months => %(months)s - 1),
                           date_trunc('month', %(today)s::timestamp), interval '1 month')::date AS month
), joined AS (
    SELECT date_trunc('month', date_joined)::date AS month, count(*)::int AS members FROM members AS m
    WHERE date_joined >= (SELECT min(month) FROM months)
      AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
    GROUP BY 1
), renewed AS (
    SELECT date_trunc('month', last_payment)::date AS month, count(*)::int AS members FROM members AS m
    WHERE last_payment >= (SELECT min(month) FROM months) AND date_joined < last_payment
      AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
    GROUP BY 1
)
SELECT month, COALESCE(joined.members, 0) AS joined, COALESCE(renewed.members, 0) AS renewed
FROM months LEFT JOIN joined USING (month) LEFT JOIN renewed USING (month)
ORDER BY month;

-- name: shared_phones
-- Cell numbers that several members have, the most shared first.
SELECT cell_number AS phone, count(*)::int AS members, count(*) OVER ()::int AS found
FROM members AS m
WHERE cell_number IS NOT NULL
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
GROUP BY cell_number HAVING count(*) >= %(least)s
ORDER BY count(*) DESC, cell_number LIMIT %(most)s;
