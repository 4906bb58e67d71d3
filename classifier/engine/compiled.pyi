# Compiled code for compiled code only; see compiled.pxd.
