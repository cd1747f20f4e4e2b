-- One row for each user of a batch: what the user did in the window, in figures.
WITH
-- Purchases and views alike, with what was paid.
actions AS (
    SELECT user_id, product_id, created_at, 1 AS bought, 0 AS viewed, quantity * price AS paid
    FROM purchases
    WHERE user_id IN (:user_id) AND created_at >= :since AND created_at < :now
    UNION ALL
    SELECT user_id, product_id, created_at, 0, 1, 0
    FROM views
    WHERE user_id IN (:user_id) AND created_at >= :since AND created_at < :now
),
totals AS (
    SELECT
        user_id,
        SUM(bought) AS purchases,
        SUM(viewed) AS views,
        ROUND(SUM(paid), 2) AS spent,
        COUNT(DISTINCT product_id) AS different_products,
        MIN(created_at) AS first_seen_at,
        MAX(created_at) AS last_seen_at
    FROM actions
    GROUP BY user_id
),
-- A purchase says as much about taste as five views. Of equal categories the first by name counts.
tastes AS (
    SELECT
        a.user_id,
        p.category,
        ROW_NUMBER() OVER (PARTITION BY a.user_id ORDER BY SUM(5 * a.bought + a.viewed) DESC, p.category) AS place
    FROM actions AS a
    JOIN products AS p ON p.id = a.product_id
    GROUP BY a.user_id, p.category
)
SELECT
    t.user_id,
    t.purchases,
    t.views,
    t.spent,
    t.different_products,
    f.category AS favourite_category,
    t.first_seen_at,
    t.last_seen_at
FROM totals AS t
JOIN tastes AS f ON f.user_id = t.user_id AND f.place = 1
ORDER BY t.user_id
