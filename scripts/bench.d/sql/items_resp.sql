-- SET key value PX ttl NX of every item, in the protocol of Redis. psql ends each row with the line feed that follows
-- the last carriage return.
SELECT
    E'*6\r\n$3\r\nSET\r\n$' || octet_length(key) || E'\r\n' || key
    || E'\r\n$' || octet_length(value) || E'\r\n' || value
    || E'\r\n$2\r\nPX\r\n$7\r\n3600000\r\n$2\r\nNX\r'
FROM (
    SELECT 'key:' || id AS key, row_to_json(v)::text AS value
    FROM items AS i
    CROSS JOIN LATERAL (
        SELECT i.name, i.category, i.price, i.stock, i.rating, i.is_active, i.updated_at, i.attributes, i.description
    ) AS v
) AS entries
