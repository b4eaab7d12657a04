"""Where log lines and printed lines go, and how they get there without ever stopping a job."""
