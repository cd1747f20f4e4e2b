-- Columns of one view.
SELECT '' AS in_schema, :view AS table_name, c.name AS column_name, c.type AS column_type
FROM pragma_table_xinfo(:view) AS c
ORDER BY c.cid
