# Compiled code for compiled code only; see matching.pxd.
