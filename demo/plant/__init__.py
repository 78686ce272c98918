"""The simulated stamping line: a meter, a press and a robot, each behind its real protocol."""
