-- Finding members, always within the reader's scope. Answers come from ``members``; ``member_index``
-- only says which rows to look at.

-- name: bound
-- For this transaction: a time limit, a plan for these values, and cheap random access, so that the
-- planner prefers the indexes to reading all members.
SELECT set_config('statement_timeout', %(milliseconds)s::text, true),
       set_config('plan_cache_mode', 'force_custom_plan', true),
       set_config('random_page_cost', '1.1', true);

-- name: words
-- The words of a text as the index spells them.
SELECT search_words(%(text)s) AS words;

-- name: folded
-- A text as the index spells it.
SELECT search_folded(%(text)s) AS folded;

-- name: lower
-- A municipality as the index spells it.
SELECT lower(%(text)s) AS lower;

-- name: matching
-- A page of the members whom the index finds by text, and how many there are; one more than the most
-- says that there are more.
WITH entry AS MATERIALIZED (
    SELECT m.id_number, i.name
    FROM member_index AS i JOIN members AS m USING (id_number)
    WHERE i.lexemes @@ {query}
      AND in_scope(m.province, m.municipality, {scope_province}, {scope_municipality})
      AND {filters}
    LIMIT {most} + 1
)
SELECT m.*, count(*) OVER () AS found
FROM entry JOIN members AS m USING (id_number) ORDER BY {order} LIMIT {limit} OFFSET {offset};

-- name: listing
-- A page of all members, in the order of the index where they are sorted by name.
SELECT m.* FROM member_index AS entry JOIN members AS m USING (id_number)
WHERE in_scope(m.province, m.municipality, {scope_province}, {scope_municipality})
  AND {place} AND {filters}
ORDER BY {order} LIMIT {limit} OFFSET {offset};

-- name: count
-- How many they are; one more than the most says that there are more.
SELECT count(*)::int AS found FROM (
    SELECT FROM member_index AS entry JOIN members AS m USING (id_number)
    WHERE in_scope(m.province, m.municipality, {scope_province}, {scope_municipality})
      AND {place} AND {filters}
    LIMIT {most} + 1
) AS counted;

-- name: by_number
-- The member with this ID number, or those with this passport number, which several countries may give.
-- It doesn't need the index.
SELECT m.*, count(*) OVER () AS found FROM members AS m
WHERE {number}
  AND in_scope(m.province, m.municipality, {scope_province}, {scope_municipality}) AND {filters}
ORDER BY m.id_number LIMIT {limit} OFFSET {offset};
