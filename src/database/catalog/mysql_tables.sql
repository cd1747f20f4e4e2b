-- Tables and views of the database, with the engine's guess at their rows, where it has one.
SELECT
    '' AS in_schema,
    t.TABLE_NAME AS table_name,
    t.TABLE_TYPE <> 'BASE TABLE' AS is_view,
    t.TABLE_ROWS AS row_guess,
    1 AS is_visible
FROM information_schema.TABLES AS t
WHERE t.TABLE_SCHEMA = DATABASE()
    AND t.TABLE_TYPE IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED')
ORDER BY t.TABLE_NAME
