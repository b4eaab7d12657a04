"""The processes: workers, the forkserver that makes them, and the channels between."""
