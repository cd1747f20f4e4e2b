-- Columns of primary and foreign keys, those of one key together and in their order.
SELECT
    n.nspname::text AS in_schema,
    c.relname::text AS table_name,
    k.conname::text AS key_name,
    k.contype = 'p' AS is_primary,
    a.attname::text AS column_name,
    their_schema.nspname::text AS their_schema,
    their_table.relname::text AS their_table,
    their_column.attname::text AS their_column
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS pair (ours, theirs, place)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = pair.ours
LEFT JOIN pg_catalog.pg_class AS their_table ON their_table.oid = k.confrelid
LEFT JOIN pg_catalog.pg_namespace AS their_schema ON their_schema.oid = their_table.relnamespace
LEFT JOIN pg_catalog.pg_attribute AS their_column
    ON their_column.attrelid = k.confrelid AND their_column.attnum = pair.theirs
WHERE k.contype IN ('p', 'f')
    AND NOT c.relispartition
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1, 2, 3, pair.place
