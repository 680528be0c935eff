"""The same job done without Usher's service: what it is set against.

Each serves the newest way its documentation shows, on the same float32 graph, histories and Redis.
"""
