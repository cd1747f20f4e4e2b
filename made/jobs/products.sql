-- Details of the products of a batch: all but the id and the category travel into the values as they are.
SELECT p.id AS product_id, p.category, p.name, p.price
FROM products AS p
WHERE p.id IN (:product_id)
