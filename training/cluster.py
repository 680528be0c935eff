"""How many processes fit a network together, and on which machines; what they cannot fit.

`training.fitting.crew` starts those of this machine. Every machine is given the same command but
for its number, reads the same ratings and comes to the same split.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from training.config import Configuration
from training.errors import ConfigurationError


@dataclass(frozen=True)
class Cluster:
    """`processes` on each of `machines`, of which this is number `machine`, from 0.

    address: host and port at which the first machine is met; None for one machine.
    """

    processes: int = 1
    machines: int = 1
    machine: int = 0
    address: tuple[str, int] | None = None

    @property
    def size(self) -> int:
        """All processes of all machines."""
        return self.processes * self.machines

    @property
    def leads(self) -> bool:
        """Whether this machine keeps what is fitted, evaluates and registers it."""
        return self.machine == 0


ONE = Cluster()


def cluster_of(options: argparse.Namespace, environment: Mapping[str, str]) -> Cluster:
    """What the command line asked for; of several machines, the rest as torchrun's variables say.

    Raises ConfigurationError, in one sentence, for what cannot be.
    """
    processes, machines = options.processes, options.machines
    machine, address = options.machine_rank, options.main_address
    if min(processes, machines) < 1:
        raise ConfigurationError("--processes and --machines are 1 or more.")
    if machines == 1:
        if machine or address:
            raise ConfigurationError(
                "--machine-rank and --main-address tell several machines apart: give --machines."
            )
        return Cluster(processes)
    rank = _whole(environment.get("NODE_RANK", ""), "NODE_RANK") if machine is None else machine
    if not 0 <= rank < machines:
        raise ConfigurationError(
            f"--machine-rank (or NODE_RANK) is 0 to {machines - 1} for {machines} machines, "
            f"not {rank}."
        )
    return Cluster(processes, machines, rank, _met_at(address, environment))


def _met_at(address: str | None, environment: Mapping[str, str]) -> tuple[str, int]:
    if address is None:
        host, port = environment.get("MASTER_ADDR", ""), environment.get("MASTER_PORT", "29500")
    else:
        host, _, port = address.rpartition(":")
    if not host:
        raise ConfigurationError(
            "Several machines need --main-address HOST:PORT (or MASTER_ADDR and MASTER_PORT), "
            "a free port of the machine whose rank is 0."
        )
    return host, _whole(port, "the port of --main-address")


def _whole(text: str, what: str) -> int:
    if not text.isdecimal():
        raise ConfigurationError(f"With several machines {what} must be a number, not {text!r}.")
    return int(text)


def refuse_undivided(configuration: Configuration, cluster: Cluster) -> None:
    """Raise ConfigurationError if the configuration asks for what needs all users at once."""
    if cluster.size == 1:
        return
    alone = [configuration.of_member(member) for member in configuration.ensemble or ()]
    for part in (configuration, *alone):
        for option, wanted in (
            ("network.rater_encoding", part.network.rater_encoding),
            ("training.time_effects", part.training.time_effects),
        ):
            if wanted:
                raise ConfigurationError(
                    f"{option} needs all users in one process and each of {cluster.size} has only "
                    f"its own: leave it out (--set {option}=null), or train in one."
                )
        if part.training.batch_users < cluster.size:
            raise ConfigurationError(
                f"training.batch_users is {part.training.batch_users} and {cluster.size} processes "
                "share it: it must be as large, or they be fewer."
            )
