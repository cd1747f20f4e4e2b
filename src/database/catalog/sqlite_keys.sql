-- Columns of primary and foreign keys, those of one key together and in their order. A foreign key may leave out what it
-- refers to: then it is the primary key.
SELECT
    '' AS in_schema,
    t.name AS table_name,
    'primary' AS key_name,
    1 AS is_primary,
    c.name AS column_name,
    NULL AS their_schema,
    NULL AS their_table,
    NULL AS their_column,
    c.pk AS place
FROM pragma_table_list AS t
JOIN pragma_table_xinfo(t.name) AS c
WHERE t.schema = 'main' AND t.type = 'table' AND c.pk > 0
UNION ALL
SELECT '', t.name, 'foreign ' || k.id, 0, k."from", '', k."table", k."to", k.seq
FROM pragma_table_list AS t
JOIN pragma_foreign_key_list(t.name) AS k
WHERE t.schema = 'main' AND t.type = 'table'
ORDER BY 2, 3, 9
