# Compiled code for compiled code only; see tables.pxd.
