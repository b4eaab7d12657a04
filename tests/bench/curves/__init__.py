"""workd's own curves: speed by payload, distance, workers, daemons, backlog, queues and CPU per job."""
