"""The gateway service: queues, host state and control socket, started and stopped together."""
