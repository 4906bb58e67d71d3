"""What outlives the process, in the state directory: uplink ids and the engine's seed."""
