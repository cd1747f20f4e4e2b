-- Columns in their order. A view that has lost a table is an error, so views are asked for apart.
SELECT '' AS in_schema, t.name AS table_name, c.name AS column_name, c.type AS column_type
FROM pragma_table_list AS t
JOIN pragma_table_xinfo(t.name) AS c
WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND c.hidden <> 1
ORDER BY t.name, c.cid
