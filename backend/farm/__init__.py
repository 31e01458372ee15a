"""Thousands of images on many machines: a pipeline on Ray, which has queues, retries and back-pressure."""
