"""A command that is stopped by Ctrl-C says nothing of what it leaves half built, wherever it was."""

import signal
import subprocess
import sys

import pytest

START = "import runpy; runpy.run_module('nbtools', run_name='__main__')"
IMPORTING = """
import sys
class Stop:
    def find_spec(self, name, *_):
        if name == "nbtools.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
"""
AT_WORK = """
import sys, types
class Half:  # as an event loop whose constructor was left
    def __del__(self):
        raise AttributeError("_ssock")
async def never():
    pass
def main():
    half, waiting = Half(), never()
    raise KeyboardInterrupt
sys.modules["nbtools.cli"] = types.SimpleNamespace(main=main)
"""


@pytest.mark.parametrize("where", [IMPORTING, AT_WORK], ids=["importing", "at work"])
def test_nothing_is_said_and_the_status_is_an_interrupts(where: str) -> None:
    ended = subprocess.run([sys.executable, "-c", where + START], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.SIGINT, "", "")


def test_what_else_goes_wrong_is_still_told() -> None:
    code = AT_WORK.replace("raise KeyboardInterrupt", "raise RuntimeError('broken')") + START
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "RuntimeError: broken" in ended.stderr
