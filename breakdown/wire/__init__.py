"""Frames and transports over byte buffers: tcp, zmq, grpc, in-process, behind one interface. No torch."""
