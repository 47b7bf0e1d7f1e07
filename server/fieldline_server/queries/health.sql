-- name: relay
-- Whether a relay on the asking machine has its session open, be it the active one or one that waits.
SELECT EXISTS (
    SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fieldline-relay'
        AND client_addr IS NOT DISTINCT FROM inet_client_addr()
) AS yes

-- name: worker
-- Whether a worker of this host gave a sign of life for all these queues in the last half minute.
SELECT EXISTS (
    SELECT 1 FROM worker WHERE starts_with(id, %(host)s || '-') AND queues @> %(queues)s AND seen_at > now() - interval '30 seconds'
) AS yes
