# Compiled code for compiled code only; see link.pxd.
