"""Run with OpenVINO on the path: FILE INPUTS ANSWERS.

INPUTS is a .npz file of the inputs, each `[n, ...]`, in the order of the manifest. ANSWERS becomes
a .npy file of what the TFLite file answers to them, one by one: `[n, classes]` in its own dtype.
"""

import sys

import numpy as np
import openvino

file, given, answers = sys.argv[1:]
inputs = np.load(given)
# OpenVINO reads no signature: it knows an input by its place in the manifest.
columns = {f"serving_default_input_{k}:0": inputs[name] for k, name in enumerate(inputs.files)}
# Otherwise it computes in bfloat16 on a processor that can.
model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
count = len(next(iter(columns.values())))
found = [
    model({name: values[row : row + 1] for name, values in columns.items()})[0][0]
    for row in range(count)
]
np.save(answers, np.stack(found))
