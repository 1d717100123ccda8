"""Python runs this when a traced program starts it. Installs the hooks, then runs the sitecustomize that stood behind it."""

import importlib.machinery
import importlib.util
import os
import sys


def _install() -> None:
    try:
        from breakdown.backends import injection

        injection.install()
    except Exception as error:  # whatever happens here, the user's program must run
        print(f"breakdown: this process is not recorded: {error!r}", file=sys.stderr)


def _run_the_one_behind() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    others = [path for path in sys.path if os.path.abspath(path or os.curdir) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_install()
_run_the_one_behind()
