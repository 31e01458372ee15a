"""The parts of ``scripts.device_run``."""
