"""Siemens S7 over ISO-on-TCP: block reads of data blocks, inputs, outputs and flags."""
