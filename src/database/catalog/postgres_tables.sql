-- Tables and views that the user may read, with the planner's guess at their rows, where it has one.
SELECT
    n.nspname::text AS in_schema,
    c.relname::text AS table_name,
    c.relkind IN ('v', 'm') AS is_view,
    CASE
        -- A partitioned table holds what its partitions hold.
        WHEN c.relkind = 'p' THEN (
            SELECT sum(greatest(part.reltuples, 0))
            FROM pg_catalog.pg_partition_tree(c.oid) AS tree
            JOIN pg_catalog.pg_class AS part ON part.oid = tree.relid
            WHERE tree.isleaf
        )
        ELSE greatest(c.reltuples, 0)
    END::bigint AS row_guess,
    pg_catalog.pg_table_is_visible(c.oid) AS is_visible
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT c.relispartition
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname !~ '^pg_(toast|temp)'
    AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
ORDER BY 1, 2
