"""Rules about what a backend opens: Python, ONNX, OpenVINO; importing it registers them."""

from trtbuild_rules import import_all

import_all(__name__, __path__)
