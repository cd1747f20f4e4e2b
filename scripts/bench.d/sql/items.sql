-- Items whose value is 1,035 bytes as JSON, every one: :rows of them. All of it follows from the number.
CREATE TABLE items (
    -- As redis-benchmark writes the numbers of its keys.
    id          text COLLATE "C" NOT NULL,
    name        text NOT NULL,
    category    text NOT NULL,
    price       numeric(10,2) NOT NULL,
    stock       integer,
    rating      double precision NOT NULL,
    is_active   boolean NOT NULL,
    updated_at  timestamptz NOT NULL,
    attributes  json NOT NULL,
    description text NOT NULL
);

WITH
-- Scattered numbers: a multiplicative hash of 32 bits.
numbers AS (
    SELECT n, (n * 2654435761) & 4294967295 AS h
    FROM generate_series(0, :rows::bigint - 1) AS n
),
drafts AS (
    SELECT
        lpad(n::text, 12, '0') AS id,
        'Größe "' || (ARRAY['S', 'M', 'L', 'XL'])[1 + h % 4] || '" No. ' || h AS name,
        'Category ' || (h >> 8) % 40 AS category,
        (((h >> 4) % 100000)::numeric / 100)::numeric(10,2) AS price,
        CASE WHEN h % 10 > 0 THEN ((h >> 12) % 500)::integer END AS stock,
        ((h >> 16) % 51)::double precision / 10 AS rating,
        h % 3 > 0 AS is_active,
        timestamptz '2026-01-01 00:00:00+00' + (h % 15552000) * interval '1 second' AS updated_at,
        json_build_array(h % 97, (h >> 3) % 89, (h >> 7) % 83)::text AS numbers,
        h
    FROM numbers
),
rows AS (
    SELECT
        id, name, category, price, stock, rating, is_active, updated_at,
        ('{"colours":["red","green"],"sizes":' || replace(numbers, ' ', '') || ',"weight":' || h % 1000 || '}')::json
            AS attributes,
        '' AS description,
        h
    FROM drafts
)
INSERT INTO items
SELECT
    id, name, category, price, stock, rating, is_active, updated_at, attributes,
    substr(
        repeat('a plain and useful thing that many people like to have at home, at work and on the way; ', 14),
        (1 + h % 80)::integer,
        1035 - octet_length((
            SELECT row_to_json(v)::text
            FROM (
                SELECT r.name, r.category, r.price, r.stock, r.rating, r.is_active, r.updated_at, r.attributes,
                    r.description
            ) AS v
        ))
    )
FROM rows AS r;

ALTER TABLE items ADD PRIMARY KEY (id);
VACUUM ANALYZE items;
CHECKPOINT;
