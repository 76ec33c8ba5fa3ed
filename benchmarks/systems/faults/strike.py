"""One fault, start to end: a sweep that it strikes, and what it did to it."""

from pathlib import Path

from benchmarks.systems.faults.audit import Outcome, audit
from benchmarks.systems.faults.injections import Fault
from benchmarks.systems.faults.scene import Place, Scene
from tinytl.errors import TinyTLError


def strike(fault: Fault, place: Place, folder: Path) -> Outcome:
    """Runs the tiny sweep, has the fault strike it, resumes it if it ended, and looks at the rest.

    Args:
        fault: What happens.
        place: Where the sweep runs.
        folder: For its files, empty.

    Raises:
        PermissionError: If this user may not bring the fault about.
        TinyTLError: If the sweep does not end as it shall.
    """
    with Scene(place, folder) as scene:
        course = fault.inject(scene)
        next(course)
        scene.start()
        scene.wait_until_midway()
        before = scene.events()
        next(course, None)
        _expect(scene.wait_until_ended() != 0, fault.ends_sweep, scene)
        if fault.ends_sweep:
            before = scene.events()
            scene.mark_checkpoints(scene.unfinished())
            scene.start("--resume")
            _expect(scene.wait_until_ended() != 0, False, scene)
        return audit(scene, before)


def _expect(failed: bool, expected: bool, scene: Scene) -> None:
    if failed != expected:
        how = "failed" if failed else "did not fail"
        raise TinyTLError(f"the sweep {how}; it said:\n{scene.driver.said()}")
