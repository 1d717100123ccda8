"""The instrumented parameter server in torch: I/O-free logic for shards and state; worker, server, scheduler around it."""
