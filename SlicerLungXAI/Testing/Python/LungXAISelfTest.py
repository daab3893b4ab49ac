"""The self-test as CTest runs it, in 3D Slicer without a main window; in pytest it runs on slicer-core.

    Slicer --no-main-window --python-script SlicerLungXAI/Testing/Python/LungXAISelfTest.py
"""

import unittest

from LungXAILib import self_test
from LungXAILib.logics import SceneLogics


class LungXAISelfTest(unittest.TestCase):
    """A synthetic CT through a server in this process into the scene."""

    def runTest(self) -> None:  # noqa: N802
        steps = list(self_test.run(_logics()))
        self.assertEqual(len(steps), 7)


def _logics() -> SceneLogics:
    """Of the application where there is one."""
    import slicer

    return SceneLogics.of_slicer() if hasattr(slicer, "app") else SceneLogics.headless()


if __name__ == "__main__":
    unittest.main(argv=["LungXAISelfTest"])
