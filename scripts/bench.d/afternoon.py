"""What a data engineer writes in an afternoon: recommendations from PostgreSQL to Redis with COPY, scipy, implicit and
pipelines. Prints the seconds of its parts as JSON.

usage: afternoon.py REDIS_SOCKET USERS   (PostgreSQL by the PG variables)
"""

import json
import sys
import time

import numpy
import psycopg
import redis
from implicit.nearest_neighbours import BM25Recommender
from scipy.sparse import coo_matrix

NOW = "timestamp '2026-07-01'"
LIMIT = 10
HALF_LIFE = 60 * 86400
TTL = 30 * 60 * 1000

began = time.perf_counter()
cache = redis.Redis(unix_socket_path=sys.argv[1])
database = psycopg.connect()
database.execute("SET work_mem = '64MB'")


def copied(query):
    """Rows of whole numbers: parsed by numpy at once, as a loop over six million rows would take longest of all."""
    with database.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (DELIMITER ' ')") as copy:
        text = b"".join(copy)
    return numpy.fromstring(text.decode("ascii"), dtype=numpy.int64, sep=" ").reshape(-1, 3)


def events(table, weight):
    rows = copied(
        f"SELECT user_id, product_id, extract(epoch FROM {NOW} - created_at)::bigint FROM {table} "
        f"WHERE created_at >= {NOW} - interval '180 days' AND created_at < {NOW}"
    )
    return rows[:, 0], rows[:, 1], (weight * 0.5 ** (rows[:, 2] / HALF_LIFE)).astype(numpy.float32)


users, products, weights = (numpy.concatenate(parts) for parts in zip(events("purchases", 1.0), events("views", 0.2)))
user_ids, users = numpy.unique(users, return_inverse=True)
product_ids, products = numpy.unique(products, return_inverse=True)
matrix = coo_matrix((weights, (users, products)), shape=(len(user_ids), len(product_ids))).tocsr()
details = {
    row[0]: row[1:] for row in database.execute("SELECT id, category, name, price::float8 FROM products").fetchall()
}
active = [
    row[0]
    for row in database.execute(
        f"""SELECT user_id FROM (
            SELECT user_id FROM purchases WHERE created_at >= {NOW} - interval '30 days' AND created_at < {NOW}
            UNION ALL
            SELECT user_id FROM views WHERE created_at >= {NOW} - interval '30 days' AND created_at < {NOW}
        ) AS actions GROUP BY user_id ORDER BY count(*) DESC, user_id LIMIT %s""",
        (int(sys.argv[2]),),
    )
]
popular = [
    row[0]
    for row in database.execute(
        f"""SELECT p.category FROM purchases AS b JOIN products AS p ON p.id = b.product_id
        WHERE b.created_at >= {NOW} - interval '30 days' AND b.created_at < {NOW}
        GROUP BY p.category ORDER BY count(DISTINCT b.user_id) DESC, p.category LIMIT 3"""
    )
]
loaded = time.perf_counter()

model = BM25Recommender(K=50)
model.fit(matrix, show_progress=False)
fitted = time.perf_counter()

# One product for all lists of a thousand users: model.recommend(items=...) would score anew for each category.
keys = 0
index = numpy.searchsorted(user_ids, active)
categories = numpy.array([details[product][0] for product in product_ids.tolist()])
lists = [("None", numpy.arange(len(product_ids)))] + [(name, numpy.flatnonzero(categories == name)) for name in popular]
for start in range(0, len(active), 1000):
    histories = matrix[index[start : start + 1000]]
    scores = (histories @ model.similarity).toarray()
    scores[histories.nonzero()] = 0
    pipeline = cache.pipeline(transaction=False)
    for category, items in lists:
        of_category = scores[:, items]
        best = numpy.argpartition(-of_category, LIMIT, axis=1)[:, :LIMIT]
        best_scores = numpy.take_along_axis(of_category, best, axis=1)
        order = numpy.argsort(-best_scores, axis=1)
        best = product_ids[items[numpy.take_along_axis(best, order, axis=1)]].tolist()
        best_scores = numpy.take_along_axis(best_scores, order, axis=1).tolist()
        for user, found, found_scores in zip(active[start : start + 1000], best, best_scores):
            value = []
            for product, score in zip(found, found_scores):
                if score > 0:
                    group, name, price = details[product]
                    score = round(score, 6)
                    value.append({"id": product, "score": score, "category": group, "name": name, "price": price})
            key = f"user_recommendations:{user}:{category}:{LIMIT}"
            pipeline.set(key, json.dumps(value, separators=(",", ":")), px=TTL, nx=True)
            keys += 1
    pipeline.execute()
ended = time.perf_counter()
print(json.dumps({"keys": keys, "load": loaded - began, "fit": fitted - loaded, "recommend": ended - fitted}))
