# Compiled code for compiled code only; see draws.pxd.
