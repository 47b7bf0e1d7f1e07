-- name: start
-- Marks a replay as running: its chunks are there already.
UPDATE run SET state = 'running', started_at = now() WHERE id = %(id)s
