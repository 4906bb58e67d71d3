"""What outlives the process, in the state directory: each kind in a file of its own."""
