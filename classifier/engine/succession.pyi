# Compiled code for compiled code only; see succession.pxd.
