-- Columns of primary and foreign keys, those of one key together and in their order.
SELECT
    '' AS in_schema,
    k.TABLE_NAME AS table_name,
    k.CONSTRAINT_NAME AS key_name,
    k.CONSTRAINT_NAME = 'PRIMARY' AS is_primary,
    k.COLUMN_NAME AS column_name,
    '' AS their_schema,
    k.REFERENCED_TABLE_NAME AS their_table,
    k.REFERENCED_COLUMN_NAME AS their_column
FROM information_schema.KEY_COLUMN_USAGE AS k
WHERE k.TABLE_SCHEMA = DATABASE()
    AND (k.CONSTRAINT_NAME = 'PRIMARY' OR k.REFERENCED_TABLE_SCHEMA = DATABASE())
ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION
