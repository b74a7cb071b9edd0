"""A node's BMC: a process outside of the node that speaks IPMI over LAN and has its hand on the node's power.

Run as `python -m vm_mgr_lab.bmc_server NODE` in the switch's namespace. What it was asked to do is recorded
in the state folder, one JSON object a line: the only witness of fencing that is outside of the cluster.
"""

import json
import sys
import time

from pyghmi.ipmi.bmc import Bmc

from vm_mgr_lab.bmc import USER, ask_password
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.topology import bmc_address

POLL_S = 30


class NodeBmc(Bmc):  # type: ignore[misc]  # pyghmi has no types
    """Answers IPMI chassis commands with the lab's power verbs; codes are IPMI completion codes."""

    def __init__(self, paths: Paths, name: str, password: str, address: str) -> None:
        # pyghmi looks every client up by its IPv6 address, so it must be bound to the mapped form.
        super().__init__({USER: password}, address=f"::ffff:{address}")
        self._paths = paths
        self._name = name
        self._record = paths.bmc_log(name)

    @property
    def _lab(self) -> Lab:
        """The lab as it is now: what the node boots from changes when it has been deployed."""
        return Lab.load(self._paths)

    def get_power_state(self) -> str:
        """Tell whether anything of the node still runs."""
        state = "on" if self._lab.machine(self._name).is_on() else "off"
        self._note(f"says {state}")
        return state

    def power_off(self) -> int:
        """Cut the node's power."""
        self._note("off")
        self._lab.cut_power(self._name)
        self._note("is off")
        return 0

    def power_on(self) -> int:
        """Restore the node's power."""
        self._note("on")
        self._lab.power_on(self._name)
        return 0

    def power_reset(self) -> int:
        """Cut and restore the node's power."""
        self.power_off()
        return self.power_on()

    power_cycle = power_reset

    def power_shutdown(self) -> int:
        """Press the power button: the operating system is asked to power off."""
        self._note("shutdown")
        self._lab.execute(self._name, ["systemctl", "poweroff", "--no-block"], check=False)
        return 0

    def _note(self, what: str) -> None:
        with self._record.open("a") as record:
            record.write(json.dumps({"time": time.time(), "node": self._name, "command": what}) + "\n")


def _serve(name: str) -> None:
    lab = Lab.load()
    node = lab.topology.node(name)
    NodeBmc(lab.paths, name, ask_password(lab.paths, node), bmc_address(node))
    lab.paths.bmc_log(name).touch()
    while True:
        Bmc.listen(POLL_S)


if __name__ == "__main__":
    try:
        _serve(sys.argv[1])
    except LabError as error:
        sys.exit(f"bmc: {error.message}")
