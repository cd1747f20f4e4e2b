-- Details of the products of a batch: all but the id and the category travel into the values as they are.
SELECT id AS product_id, category, name, price
FROM products
WHERE id IN (:product_id)
