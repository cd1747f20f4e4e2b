-- A shop at scale: :users, :products, :purchases and :views over the 180 days before 2026-07-01. Everything is a hash
-- of its number, so that every run, on every machine, has the same rows. The products should be a multiple of forty.

-- From 0 to 1, evenly, and independent of the other salts.
CREATE FUNCTION pg_temp.scattered(n bigint, salt bigint) RETURNS double precision LANGUAGE sql IMMUTABLE
RETURN (hashint8extended(n, salt) & 9007199254740991)::double precision / 9007199254740992;

-- Users and products by rank, the busiest first. The share of a rank falls with its power, as Zipf's law says: -0.5 for
-- users, -0.6 for products. Three of five events are in one of the three categories that the user likes, and some
-- categories are liked more than others. One rank in forty is in the same category.
CREATE FUNCTION pg_temp.events(events bigint, kind bigint, users bigint, products bigint)
RETURNS TABLE (n bigint, user_id integer, product_id integer, created_at timestamp) LANGUAGE sql
BEGIN ATOMIC
    WITH
    drawn AS (
        SELECT
            n,
            floor(users * pg_temp.scattered(n, kind + 1) ^ 2)::bigint AS user_rank,
            floor(products * pg_temp.scattered(n, kind + 2) ^ 2.5)::bigint AS product_rank,
            floor(3 * pg_temp.scattered(n, kind + 3))::bigint AS taste,
            pg_temp.scattered(n, kind + 4) < 0.6 AS is_to_taste,
            timestamp '2026-07-01' - (1 + floor(15551999 * pg_temp.scattered(n, kind + 5))) * interval '1 second'
                AS created_at
        FROM generate_series(1, events) AS n
    ),
    liked AS (
        SELECT
            n, user_rank, created_at,
            CASE
                WHEN is_to_taste
                THEN product_rank - product_rank % 40
                    + floor(40 * pg_temp.scattered(user_rank * 3 + taste, 99) ^ 1.5)::bigint
                ELSE product_rank
            END AS product_rank
        FROM drawn
    )
    -- Primes, so that the ids do not tell the ranks.
    SELECT n, (user_rank * 48271 % users)::integer + 1, (product_rank * 7919 % products)::integer + 1, created_at
    FROM liked;
END;

CREATE TABLE users (
    id   integer NOT NULL PRIMARY KEY,
    name text    NOT NULL
);
CREATE TABLE products (
    id         integer        NOT NULL PRIMARY KEY,
    name       text           NOT NULL,
    category   text           NOT NULL,
    price      numeric(10, 2) NOT NULL,
    created_at timestamp      NOT NULL
);
CREATE TABLE purchases (
    id         integer        NOT NULL,
    user_id    integer        NOT NULL,
    product_id integer        NOT NULL,
    quantity   integer        NOT NULL,
    price      numeric(10, 2) NOT NULL,
    created_at timestamp      NOT NULL
);
CREATE TABLE views (
    id         integer   NOT NULL,
    user_id    integer   NOT NULL,
    product_id integer   NOT NULL,
    created_at timestamp NOT NULL
);

INSERT INTO users
SELECT n, 'User ' || n
FROM generate_series(1, :users) AS n;

INSERT INTO products
SELECT
    rank * 7919 % :products + 1,
    'Product ' || rank * 7919 % :products + 1,
    'Category ' || rank % 40,
    (1 + floor(20000 * pg_temp.scattered(rank, 7) ^ 2))::numeric / 100,
    timestamp '2025-01-01' + (rank % 300) * interval '1 day'
FROM generate_series(0, :products::bigint - 1) AS rank;

-- In the order of time, as a shop writes them.
INSERT INTO purchases
SELECT
    row_number() OVER (ORDER BY e.created_at, e.n),
    e.user_id,
    e.product_id,
    1 + e.n % 3,
    p.price,
    e.created_at
FROM pg_temp.events(:purchases, 100, :users, :products) AS e
JOIN products AS p ON p.id = e.product_id
ORDER BY e.created_at, e.n;

INSERT INTO views
SELECT row_number() OVER (ORDER BY created_at, n), user_id, product_id, created_at
FROM pg_temp.events(:views, 200, :users, :products)
ORDER BY created_at, n;

CREATE UNIQUE INDEX ON purchases (id);
CREATE INDEX ON purchases (created_at);
CREATE UNIQUE INDEX ON views (id);
CREATE INDEX ON views (created_at);
VACUUM ANALYZE users, products, purchases, views;
CHECKPOINT;
