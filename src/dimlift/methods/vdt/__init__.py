"""VDT: pretrain a 3D network on images shown as volumes of three slices."""
