"""Eager calls of TensorFlow that may return before their work is done: the program is told so, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tensorflow_home

pytestmark = pytest.mark.e2e

SCRIPT = """
import json, sys
import tensorflow as tf
from breakdown.backends.tensorflow.hooks import functions
from breakdown.backends.tensorflow.hooks.program import Program

program = Program(sys.argv[1], 0)
said, ended = [], []
program.watcher.warn = lambda text, aloud=True: said.append(text)
program.watcher.ends_step = lambda *what: ended.append(what)
functions.install(program)
weight = tf.Variable(tf.ones((3, 1)))


@tf.function
def train(x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.matmul(x, weight) ** 2)
    weight.assign_sub(0.1 * tape.gradient(loss, weight))


counts = []
for synchronous in (True, False, False):
    tf.config.experimental.set_synchronous_execution(synchronous)
    train(tf.ones((4, 3)))
    counts.append((len(ended), len(said)))
print(json.dumps([counts, said]))
"""


def test_steps_of_asynchronous_execution_have_a_warning(tmp_path: Path) -> None:
    counts, said = json.loads(tensorflow_home.run_there(SCRIPT, str(tmp_path)).splitlines()[-1])
    assert counts == [[1, 0], [2, 1], [3, 1]]  # steps, warnings
    assert "Mark the steps where the program has waited for its results" in said[0]
