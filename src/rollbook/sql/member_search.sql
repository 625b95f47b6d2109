-- Finding members, always within the reader's scope. Answers come from ``members``; ``member_index``
-- only says which rows to look at.

-- name: bound
-- For this transaction: a time limit, a plan for these values, cheap random access, so that the
-- planner prefers the indexes to reading all members, and room for what an index finds: without it, each
-- row of the pages found would be read and compared.
SELECT set_config('statement_timeout', %(milliseconds)s::text, true),
       set_config('plan_cache_mode', 'force_custom_plan', true),
       set_config('random_page_cost', '1.1', true),
       set_config('work_mem', '64MB', true);

-- name: words
-- The words of a text as the index spells them.
SELECT search_words(%(text)s) AS words;

-- name: folded
-- A text as the index spells it.
SELECT search_folded(%(text)s) AS folded;

-- name: lower
-- A municipality as the index spells it.
SELECT lower(%(text)s) AS lower;

-- name: is_frequent
-- Whether so many surnames begin with a word.
SELECT count(*) = %(most)s AS is_frequent FROM (
    SELECT FROM member_index WHERE name >= %(first)s AND name < %(last)s LIMIT %(most)s
) AS counted;

-- name: matching
-- A page of the members whom the index finds by text, and how many there are, also where the page has
-- none; one more than the most says that there are more. Those of the page alone are read as members;
-- who isn't shown has a place (at) only.
WITH entry AS MATERIALIZED (
    SELECT entry.id_number, {key} AS key FROM {source} WHERE {found} LIMIT {most} + 1
)
SELECT counted.found, page.*
FROM (SELECT count(*)::int AS found FROM entry) AS counted LEFT JOIN (
    SELECT m.*, entry.key, entry.id_number AS at
    FROM (SELECT * FROM entry WHERE {after_found} ORDER BY {order}
          LIMIT LEAST({limit}, GREATEST({most} - {offset}, 0)) OFFSET {offset}) AS entry
    LEFT JOIN members AS m ON m.id_number = entry.id_number
     AND in_scope(m.province, m.municipality, {scope_province}, {scope_municipality}) AND {filters}
) AS page ON true
ORDER BY {page_order};

-- name: listing
-- A page of all members, or of those with a beginning of a name, in the order of the index where they are
-- sorted by name. Who isn't shown has a place (at) only.
SELECT m.*, entry.key, entry.id_number AS at FROM (
    SELECT entry.id_number, {key} AS key FROM {source} WHERE {found} AND {after}
    ORDER BY {order} LIMIT {limit} OFFSET {offset}
) AS entry LEFT JOIN members AS m ON m.id_number = entry.id_number
 AND in_scope(m.province, m.municipality, {scope_province}, {scope_municipality}) AND {filters}
ORDER BY {page_order};

-- name: count
-- How many they are; one more than the most says that there are more.
SELECT count(*)::int AS found
FROM (SELECT FROM {source} WHERE {found} LIMIT {most} + 1) AS counted;

-- name: index_only
-- What is searched where the index decides.
member_index AS entry

-- name: with_members
-- What is searched where the members themselves decide: by a filter, or the order of a whole list.
member_index AS entry JOIN members AS m USING (id_number)

-- name: found_first
-- What is searched where the index decides and the members have the order: nobody but those who are
-- found is read.
(SELECT entry.id_number FROM member_index AS entry WHERE {found} LIMIT {most} + 1) AS entry
JOIN members AS m USING (id_number)

-- name: in_reach
-- Whether a member is in the reader's scope.
in_scope(m.province, m.municipality, {scope_province}, {scope_municipality})

-- name: by_number
-- The member with this ID number, or those with this passport number, which several countries may give.
-- It doesn't need the index.
SELECT m.*, count(*) OVER () AS found FROM members AS m
WHERE {number}
  AND in_scope(m.province, m.municipality, {scope_province}, {scope_municipality}) AND {filters}
ORDER BY m.id_number LIMIT {limit} OFFSET {offset};
