-- A window of time is what most jobs ask for; with these columns the index alone answers.
CREATE INDEX purchases_window ON purchases (created_at, user_id, product_id);
CREATE INDEX views_window ON views (created_at, user_id, product_id);

-- The history of the users of a batch.
CREATE INDEX purchases_user ON purchases (user_id, created_at);
CREATE INDEX views_user ON views (user_id, created_at, product_id);

ANALYZE;
