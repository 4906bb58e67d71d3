# Compiled code for compiled code only; see pcap.pxd.
