"""From ratings to a bundle.

Its onnxruntime, as released, reports its use to Microsoft; here it does not. It wants to be told
before it is loaded.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
