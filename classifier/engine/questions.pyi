# Compiled code for compiled code only; see questions.pxd.
