-- Tables and views of the file. SQLite keeps no number of rows.
SELECT '' AS in_schema, t.name AS table_name, t.type = 'view' AS is_view, NULL AS row_guess, 1 AS is_visible
FROM pragma_table_list AS t
WHERE t.schema = 'main' AND t.type IN ('table', 'view') AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\'
ORDER BY t.name
