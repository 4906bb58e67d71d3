# Compiled code for compiled code only; see load_methods.pxd.
