"""The instrumented parameter server in torch: I/O-free logic for shards, consistency and state; worker, server, scheduler around it."""
