# Compiled code for compiled code only; see deciding.pxd.
