"""Two that train in each batch, as in a GAN, under `breakdown trace`: a batch is one step, in both frameworks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mxnet_home import mxnet_home
from tensorflow_home import tensorflow_home
from traced_scripts import ended

TIMEOUT_S = 200
BATCHES = 12

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(TIMEOUT_S + 40)]

MXNET = """
import mxnet as mx
from mxnet import autograd, gluon

nets = [gluon.nn.Dense(10, in_units=4), gluon.nn.Dense(10, in_units=4)]
for net in nets:
    net.initialize()
trainers = [gluon.Trainer(net.collect_params(), kind) for net, kind in zip(nets, ("sgd", "adam"))]
batches = gluon.data.DataLoader(gluon.data.ArrayDataset(mx.nd.ones((96, 4))), 8)
for x in batches if LOADS else [mx.nd.ones((8, 4))] * 12:
    for net, trainer in zip(nets, trainers):
        with autograd.record():
            loss = net(x).mean(axis=1)
        loss.backward()
        trainer.step(8)
mx.nd.waitall()
"""

TENSORFLOW = """
import tensorflow as tf

weights = [tf.Variable(tf.ones((4, 10))) for _ in range(2)]


def training(weight):
    @tf.function
    def train(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.matmul(x, weight))
        weight.assign_sub(0.1 * tape.gradient(loss, weight))
        return loss

    return train


both = [training(weight) for weight in weights]
for x in tf.data.Dataset.from_tensor_slices(tf.ones((96, 4))).batch(8) if LOADS else [tf.ones((8, 4))] * 12:
    for train in both:
        train(x)
"""


@pytest.mark.parametrize("loads", [True, False])
@pytest.mark.parametrize("framework", ["mxnet", "tensorflow"])
def test_a_batch_in_which_two_train_is_one_step(framework: str, loads: bool, tmp_path: Path) -> None:
    home, script = {"mxnet": (mxnet_home, MXNET), "tensorflow": (tensorflow_home, TENSORFLOW)}[framework]
    (tmp_path / "train.py").write_text(f"LOADS = {loads}\n{script}")
    command = [
        sys.executable,
        "-m",
        "breakdown.cli",
        "trace",
        framework,
        "--output",
        "out",
        "--",
        str(home().python),
        "train.py",
    ]
    env = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    job = ended(process, tmp_path, TIMEOUT_S)
    assert job.code == 0, job.err
    assert job.tables.steps["samples"].tolist() == [8] * BATCHES
    said = [warning for warning in job.warnings if "take turns" in warning]
    assert len(said) == (0 if loads else 1)
