"""Two ways to bring items from PostgreSQL to Redis in Python; prints the keys and the seconds without the start.

usage: loop.py REDIS_SOCKET loop|pipelined KEYS   (PostgreSQL by the PG variables)

loop: one query and one SET for each key. pipelined: one cursor, and pipelines of 500.
"""

import json
import sys
import time

import psycopg
import redis
from psycopg.rows import dict_row

COLUMNS = "id, name, category, price, stock, rating, is_active, updated_at, attributes, description"
TTL = 60 * 60 * 1000

cache = redis.Redis(unix_socket_path=sys.argv[1])
keys = int(sys.argv[3])
database = psycopg.connect(row_factory=dict_row)


def entry(row):
    # Decimals and times as text: what everybody does first.
    return f"key:{row.pop('id')}", json.dumps(row, default=str, ensure_ascii=False, separators=(",", ":"))


def loop():
    ids = [row["id"] for row in database.execute("SELECT id FROM items ORDER BY id LIMIT %s", (keys,))]
    for item in ids:
        row = database.execute(f"SELECT {COLUMNS} FROM items WHERE id = %s", (item,)).fetchone()
        key, value = entry(row)
        cache.set(key, value, px=TTL, nx=True)


def pipelined():
    cursor = database.cursor(name="items")
    cursor.itersize = 5000
    pipeline = cache.pipeline(transaction=False)
    for row in cursor.execute(f"SELECT {COLUMNS} FROM items LIMIT %s", (keys,)):
        key, value = entry(row)
        pipeline.set(key, value, px=TTL, nx=True)
        if len(pipeline) == 500:
            pipeline.execute()
    pipeline.execute()


began = time.perf_counter()
{"loop": loop, "pipelined": pipelined}[sys.argv[2]]()
print(json.dumps({"keys": cache.dbsize(), "seconds": time.perf_counter() - began}))
