"""Modbus: reads coils, discrete inputs, input and holding registers (functions 1 to 4)."""
