"""What runs in the forkserver and in the workers; the supervisor imports it only for a fork of itself."""
