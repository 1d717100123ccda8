"""What `breakdown trace tensorflow` costs scripts whose input is work element by element, as most tutorials have it.

    python benchmarks/tensorflow_scripts.py [--rounds 24] [--every 5] [--only map_elements] [--out FILE.json]

`map_elements` maps a tf.data.Dataset before it is put into batches, and is trained by Keras. `queue_runners` has the input
pipeline of TensorFlow 1: a runner that calls a Python function for each element, a queue of batches, a session at a server.
Each is one process, hooked as `breakdown trace` hooks it, and trains in turns with a rest after each (`turns.py` says why).
In `each` all of a turn's steps are traced, in `sampled` every n-th; in `off` the program's calls go past the hooks, and the
native recorder records nothing. A sample is a turn: its time without the rest, its processor time with it.

An overhead is the median over rounds of the ratio to the round's turn without tracing, minus one, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorflow_overhead import EACH, MODES, SAMPLED, claims_of, recorded
from turns import OFF, REST_S, in_turn, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_S = 120
"""More than importing TensorFlow and building a graph take."""
WARM_UP = "warm-up"


# --- a script (runs in TensorFlow's environment) ----------------------------------------------------------------------


class Course:
    """The turns of a script, which tells it of each step that has ended."""

    def __init__(self, modes: Sequence[str], steps_a_turn: int, switch: Callable[[str], None]) -> None:
        self.left = list(modes)
        self.steps_a_turn, self.steps = steps_a_turn, len(modes) * steps_a_turn
        self.switch = switch
        self.time_ms: dict[str, list[float]] = {mode: [] for mode in modes}
        self.cpu_ms: dict[str, list[float]] = {mode: [] for mode in modes}
        self._begin()

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left:
            return
        elapsed_s = time.perf_counter() - self.start_s
        time.sleep(REST_S)
        mode = self.left.pop(0)
        self.time_ms[mode].append(elapsed_s / self.steps_a_turn * 1e3)
        self.cpu_ms[mode].append((time.process_time() - self.start_cpu_s) / self.steps_a_turn * 1e3)
        if self.left:
            self._begin()

    def _begin(self) -> None:
        self.switch(self.left[0])
        self.steps_left = self.steps_a_turn
        self.start_s, self.start_cpu_s = time.perf_counter(), time.process_time()


def map_elements(course: Course) -> None:
    import tensorflow as tf

    images = tf.cast(tf.random.uniform([20_000, 28, 28], maxval=255, dtype=tf.int32), tf.uint8)
    labels = tf.random.uniform([20_000], maxval=10, dtype=tf.int32)
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    data = data.map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, y), num_parallel_calls=tf.data.AUTOTUNE)
    layers = (tf.keras.layers.Flatten(), tf.keras.layers.Dense(128, activation="relu"), tf.keras.layers.Dense(10))
    model = tf.keras.Sequential(layers)
    model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    told = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: course.step())
    batches = data.repeat().shuffle(1000).batch(100).prefetch(2)
    model.fit(batches, steps_per_epoch=course.steps, verbose=0, callbacks=[told])


def queue_runners(course: Course) -> None:
    import numpy as np
    import tensorflow.compat.v1 as tf

    def read(element: Any) -> Any:
        time.sleep(0.0005)
        return element

    tf.disable_v2_behavior()
    element = tf.train.input_producer(tf.constant(np.random.rand(1000, 100).astype("f"))).dequeue()
    element = tf.py_func(read, [element], tf.float32)
    element.set_shape([100])
    batch = tf.train.batch([element], 32, capacity=64)
    weights = tf.get_variable("weights", [100, 10])
    loss = tf.reduce_sum(tf.matmul(batch, weights) ** 2)
    train = tf.train.GradientDescentOptimizer(1e-6).minimize(loss, tf.train.get_or_create_global_step())
    server = tf.train.Server.create_local_server()
    with tf.train.MonitoredTrainingSession(master=server.target) as session:
        for _ in range(course.steps):
            session.run(train)
            course.step()


SCRIPTS = {map_elements: 150, queue_runners: 30}
"""With the steps of a turn, some 0.7 s. A multiple of n."""


def play(name: str, rounds: int, every: int) -> None:
    """Runs a script with hooks that can be passed by. Prints its samples."""
    from breakdown.backends import wrapping

    hooked = wrapping.Hooks.watched
    on = True

    def watched(hooks: Any, real: Callable[..., Any], observe: Any, what: str) -> Callable[..., Any]:
        told = hooked(hooks, real, observe, what)

        @functools.wraps(real)
        def either(*args: Any, **named: Any) -> Any:
            return (told if on else real)(*args, **named)

        return either

    wrapping.Hooks.watched = watched  # type: ignore[method-assign]  # before TensorFlow's import brings the hooks
    import tensorflow  # noqa: F401

    from breakdown.backends.tensorflow import tracing

    chosen = {EACH: tracing.Steps(), SAMPLED: tracing.Steps(every), OFF: tracing.Steps(first=sys.maxsize)}

    def switch(mode: str) -> None:
        nonlocal on
        assert tracing._library is not None
        on = mode != OFF
        tracing._steps = chosen.get(mode, chosen[EACH])
        pause(tracing._library, mode)

    script, steps = next(one for one in SCRIPTS.items() if one[0].__name__ == name)
    course = Course([WARM_UP, *in_turn(MODES, rounds)], steps // every * every, switch)
    script(course)
    print(json.dumps({"steps_a_turn": course.steps_a_turn, "time_ms": course.time_ms, "cpu_ms": course.cpu_ms}), flush=True)


# --- the benchmark ----------------------------------------------------------------------------------------------------


def measure(name: str, rounds: int, every: int) -> dict[str, Any]:
    """The samples of a script's process, and what it recorded."""
    from breakdown.backends import injection, registry
    from breakdown.runner.plan import home_of

    home = home_of("tensorflow")
    with tempfile.TemporaryDirectory() as scratch:
        hooks = registry.tracer("tensorflow").variables(home, Path(scratch), 0)
        env = {**os.environ, **hooks, injection.EVERY_VARIABLE: str(every), "CUDA_VISIBLE_DEVICES": "-1"}
        command = [str(home.python), __file__, "--play", name, "--rounds", str(rounds), "--every", str(every)]
        limit_s = START_S + len(MODES) * (rounds + 1) * 5
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, timeout=limit_s, check=True)
        return {**json.loads(done.stdout.splitlines()[-1]), "recorded": recorded(Path(scratch))}


def main() -> int:
    names = [script.__name__ for script in SCRIPTS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--every", type=int, default=5, help="n of the sampled turns")
    parser.add_argument("--only", default="", choices=["", *names])
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/tensorflow_scripts.json")
    parser.add_argument("--play", choices=names, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play is not None:
        play(options.play, options.rounds, options.every)
        return 0
    from common import MIN_ROUNDS, finish, load_average

    if options.rounds < MIN_ROUNDS:
        parser.error(f"fewer than {MIN_ROUNDS} rounds say too little")
    load_before = load_average()
    found = {name: measure(name, options.rounds, options.every) for name in names if options.only in ("", name)}
    claims = [
        claim for name, one in found.items() for claim in claims_of(name, options.every, one["time_ms"], one["cpu_ms"])
    ]
    return finish(
        "tensorflow_scripts", claims, {"rounds": options.rounds, "every": options.every, **found}, load_before, options.out
    )


if __name__ == "__main__":
    sys.exit(main())
