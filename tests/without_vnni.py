"""Runs one graph on one feed and keeps the answer; for a process whose processor is emulated.

    python tests/without_vnni.py GRAPH FEED.npz ANSWER.npz

It imports numpy and onnxruntime alone: every import takes seconds there.
"""

import sys

import numpy as np
import onnxruntime as ort

graph, feed, answer = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
items, scores = session.run(["items", "scores"], dict(np.load(feed)))
np.savez(answer, items=items, scores=scores)
