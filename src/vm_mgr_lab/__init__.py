"""A real cluster of several nodes inside one machine, to try, learn and test vm-mgr."""
