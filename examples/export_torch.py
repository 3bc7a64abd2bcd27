"""A PyTorch model for edgeops: train, export to ONNX, keep rows to judge it by.

pip install torch onnxscript scikit-learn; then: python export_torch.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

folder = Path(sys.argv[1])
x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
is_training = np.arange(len(x)) % 3 > 0

torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 3, padding=1),
    torch.nn.ReLU(),
    torch.nn.MaxPool2d(2),
    torch.nn.Flatten(),
    torch.nn.Linear(128, 10),
)
optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
inputs, labels = torch.from_numpy(x[is_training]), torch.from_numpy(y[is_training])
for _ in range(150):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(inputs), labels).backward()
    optimizer.step()

torch.onnx.export(
    torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval(),
    (inputs[:2],),
    folder / "digits.onnx",
    input_names=["pixels"],
    output_names=["scores"],
    opset_version=18,  # newer than 21 is refused: boards may have onnxruntime 1.20
    dynamic_shapes=({0: "batch"},),  # no other size may be free
    external_data=False,  # one file; with a second one, package it with --recipe float32
)
np.savez(folder / "golden.npz", x=x[~is_training], y=y[~is_training])
np.savez(folder / "calibration.npz", x=x[is_training][:300])
