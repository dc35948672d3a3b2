"""What a user of an exported file writes: python consumer.py MODEL.onnx CLOUD.npy ... prints each cloud's class."""

import json
import sys

import numpy as np
import onnxruntime

model, *paths = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
for path in paths:
    points = np.load(path).astype(np.float32)
    (probabilities,) = session.run(["probabilities"], {"points": points[None]})
    best = int(probabilities[0].argmax())
    print(path, names[best], f"{probabilities[0, best]:.4f}", sep="\t")
assert not {"torch", "pointrecon", "tools", "models"} & set(sys.modules)
