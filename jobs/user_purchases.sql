-- The latest purchases of each user of a batch, newest first.
WITH
-- Numbered backwards for each user; of two purchases in one second the later id is the newer.
numbered AS (
    SELECT
        id,
        user_id,
        product_id,
        quantity,
        price,
        created_at,
        ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY created_at DESC, id DESC) AS place
    FROM purchases
    WHERE user_id IN (:user_id) AND created_at < :now
)
SELECT
    n.user_id,
    n.id AS purchase_id,
    n.product_id,
    p.name,
    p.category,
    n.quantity,
    n.price,
    n.created_at AS purchased_at
FROM numbered AS n
JOIN products AS p ON p.id = n.product_id
WHERE n.place <= :limit
ORDER BY n.user_id, n.place
