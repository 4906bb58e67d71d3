# Compiled code for compiled code only; see ftp.pxd.
