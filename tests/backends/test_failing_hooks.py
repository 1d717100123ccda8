"""Both frameworks with hooks that always raise: each program runs as it does without them, and is told of each hook once."""

from __future__ import annotations

import json
import re

import mxnet_home
import pytest
import tensorflow_home

pytestmark = pytest.mark.e2e

FAILING = """
import json, sys
from breakdown.backends.wrapping import Hooks

mode = {mode!r}
said, watched = [], []


def before(call):
    raise RuntimeError("broken on purpose")


def after(call):
    yield
    raise RuntimeError("broken on purpose")


class Broken:
    # a watcher, or a program, that can do nothing
    watches = True
    inside = False

    def __getattr__(self, name):
        raise RuntimeError("broken on purpose")


class Failing(Hooks):
    def watched(self, real, observe, name):
        watched.append(name)
        return super().watched(real, {{"before": before, "after": after}}.get(mode, observe), name)


hooks = Failing(said.append)
"""

MXNET = """
import mxnet as mx, numpy as np
from mxnet import autograd, gluon
if mode != "none":
    from breakdown.backends.mxnet.hooks import install
    install(mx, Broken(), hooks)
mx.random.seed(1)
np.random.seed(1)
net = gluon.nn.Dense(3, in_units=4)
net.initialize(mx.init.One())
found = []
for store in ("local", None):
    trainer = gluon.Trainer(net.collect_params(), "sgd", kvstore=store, update_on_kvstore=None if store else False)
    metric = mx.metric.MSE()
    for x in gluon.data.DataLoader(gluon.data.ArrayDataset(np.arange(32, dtype="f").reshape(8, 4) / 32), 4):
        (x,) = gluon.utils.split_and_load(data=x, ctx_list=[mx.cpu()])
        with autograd.record():
            loss = (net(x) ** 2).mean(axis=1)
            other = loss * 1
        loss.backward(retain_graph=True)
        autograd.backward(heads=[other])
        if store:
            trainer.step(batch_size=4)
        else:
            trainer.allreduce_grads()
            trainer.update(batch_size=4)
        metric.update(labels=[loss], preds=[other])
    found += [net.weight.data().asnumpy().tolist(), metric.get()]
sparse = mx.nd.ones((10, 1)).tostype("row_sparse")
sparse.attach_grad()
with autograd.record():
    doubled = 2 * sparse
doubled.backward()
store = mx.kv.create("local")
store.init(key="a", value=mx.nd.ones((2,)))
store.push(key="a", value=mx.nd.ones((2,)))
out = mx.nd.zeros((2,))
store.pull(key="a", out=out)
store.pushpull(key="a", value=mx.nd.ones((2,)), out=out)
store.broadcast(key="b", value=mx.nd.ones((2,)), out=out)
out.wait_to_read()
mx.nd.waitall()
found.append(out.asnumpy().tolist())
symbol = mx.sym.LinearRegressionOutput(mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=1), name="out")
module = mx.mod.Module(symbol, label_names=["out_label"])
data = mx.io.NDArrayIter(mx.nd.ones((8, 4)), mx.nd.ones((8, 1)), 4, label_name="out_label")
module.fit(data, num_epoch=1, eval_metric="mse", optimizer="sgd", initializer=mx.init.One())
found.append(module.get_params()[0]["fullyconnected0_weight"].asnumpy().tolist())
try:
    trainer.step("text")
except Exception as error:
    found.append(type(error).__name__)
print(json.dumps([found, said, sorted(set(watched))]))
"""

TENSORFLOW = """
import tensorflow as tf
from breakdown.backends import injection
if mode != "none":
    from breakdown.backends.tensorflow.hooks import coordinator, functions, keras, servers, sessions
    program = Broken()
    program.hooks = hooks
    if mode != "watcher":
        program.watcher = program.batches = program
    for one in (servers, sessions, functions, coordinator, keras):
        one.install(program)
tf.keras.utils.set_random_seed(1)
found = []
weight = tf.Variable(tf.ones((3, 1)))


@tf.function
def train(x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.matmul(x, weight) ** 2)
    weight.assign_sub(0.1 * tape.gradient(target=loss, sources=weight))
    return loss


for x in tf.data.Dataset.from_tensor_slices(tf.ones((8, 3))).batch(batch_size=4):
    found.append(float(train(x=x)))
optimizer = tf.keras.optimizers.SGD(0.1)
with tf.GradientTape() as tape:
    loss = tf.reduce_mean(tf.matmul(tf.ones((4, 3)), weight) ** 2)
optimizer.apply_gradients(zip(tape.gradient(loss, [weight]), [weight]))
model = tf.keras.Sequential([tf.keras.layers.Dense(1, kernel_initializer="ones")])
model.compile(optimizer="sgd", loss="mse")
found += model.fit(tf.ones((8, 3)), tf.ones((8, 1)), batch_size=4, epochs=2, verbose=0).history["loss"]
import tf_keras
for kind in (tf_keras.optimizers.SGD, tf_keras.optimizers.legacy.SGD):
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(optimizer=kind(learning_rate=0.1), loss="mse")
    found += model.fit(tf.ones((8, 3)), tf.ones((8, 1)), batch_size=4, epochs=2, verbose=0).history["loss"]
with tf.Graph().as_default():
    x = tf.compat.v1.placeholder(tf.float32, (None, 3))
    value = tf.compat.v1.get_variable("value", (3, 1), initializer=tf.compat.v1.ones_initializer())
    loss = tf.reduce_mean(tf.matmul(x, value) ** 2)
    step = tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(loss)
    with tf.compat.v1.train.MonitoredTrainingSession() as session:
        for _ in range(3):
            found.append(float(session.run(fetches=[loss, step], feed_dict={x: [[1, 2, 3]] * 4})[0]))
        found.append(float(session.run_step_fn(lambda step_context: step_context.session.run(loss, {x: [[1, 2, 3]]}))))
cluster = tf.train.ClusterSpec({"worker": ["127.0.0.1:0"]})
server = tf.distribute.Server(server_or_cluster_def=cluster, job_name="worker", task_index=0, start=False)
found.append(server.server_def.job_name)
try:
    train("text")
except Exception as error:
    found.append(type(error).__name__)
print(json.dumps([found, said, sorted(set(watched))]))
"""

METRICS = r"(?!Trainer|Module|MSE)\w+\.update"
"""Each kind of metric has an `update` of its own; one of them is called."""

NOT_REACHED = {
    "mxnet": set(),
    # A cluster is needed for these; each is a method like the others.
    "tensorflow": {
        "Server.join",
        "ParameterServerStrategyV2.__init__",
        "Closure.__init__",
        "Worker._process_closure",
        "PerWorkerDatasetFromDataset.__init__",
        "PerWorkerDatasetFromDatasetFunction.__init__",
        "PerWorkerDatasetFromDatasetFunction.__iter__",
    },
}


def run(framework: str, mode: str) -> tuple[list[object], list[str], set[str]]:
    there = {"mxnet": mxnet_home.run_there, "tensorflow": tensorflow_home.run_there}[framework]
    script = {"mxnet": MXNET, "tensorflow": TENSORFLOW}[framework]
    found, said, watched = json.loads(there(FAILING.format(mode=mode) + script).splitlines()[-1])
    return found, said, set(watched)


@pytest.mark.timeout(460)  # four programs, each of which imports its framework
@pytest.mark.parametrize("framework", ["mxnet", "tensorflow"])
def test_hooks_that_always_raise_change_nothing(framework: str) -> None:
    expected, _, _ = run(framework, "none")
    for mode in ("before", "after", "watcher"):
        found, said, watched = run(framework, mode)
        assert found == expected, mode
        names = [text.partition(" could not be watched")[0] for text in said]
        assert len(names) == len(set(names)), mode
        assert all("broken on purpose" in text for text in said)
        if mode != "watcher":
            others = {name for name in watched if re.fullmatch(METRICS, name)}
            assert watched - set(names) - others == NOT_REACHED[framework], mode
