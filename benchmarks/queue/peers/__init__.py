"""The peers: one table, and one small module each that says how it adds and runs the job.

Each module has ``open_queue``, an asynchronous context manager that yields a function which adds
one job. It is imported in the peer's own environment only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.queue.trial import CONCURRENCY

_PEERS = "benchmarks.queue.peers"


@dataclass(frozen=True, slots=True)
class Peer:
    """One queue as it is measured."""

    #: The name in tables and on the command line.
    name: str
    #: The module in this package.
    module: str
    #: Distributions whose versions are stated.
    distributions: tuple[str, ...]
    #: The key of its environment, see ``environments``.
    environment: str
    #: The worker's command line; the first word is a program of the environment.
    worker: tuple[str, ...]
    #: What is set for the sake of reliability, in words.
    settings: str
    #: What is set when a dead worker is to be noticed soon; empty where nothing can be.
    tuned: str
    #: How many of these processes make up the concurrency.
    processes: int = 1
    #: The most jobs for the throughput, where the usual number would take minutes.
    most_jobs: int | None = None
    #: Added to the environment of the trial.
    variables: dict[str, str] = field(default_factory=dict)
    #: Take part in the trial of a killed worker.
    crashes: bool = True


PEERS = (
    Peer(
        name="rollbook",
        module="rollbook",
        distributions=("rollbook", "bullmq", "redis"),
        environment="rollbook",
        worker=("python", "-m", f"{_PEERS}.rollbook"),
        settings="the product's own; every job has a priority; at most 3 recoveries",
        tuned="lock 10 s, look for stalled jobs every 5 s",
    ),
    Peer(
        name="celery",
        module="celery",
        distributions=("celery", "kombu", "redis"),
        environment="peers",
        worker=(
            *("celery", "-A", f"{_PEERS}.celery", "worker"),
            *("-c", str(CONCURRENCY), "-l", "WARNING"),
        ),
        settings="acks_late, reject_on_worker_lost, prefetch 1, results ignored",
        tuned="visibility_timeout 10 s",
    ),
    Peer(
        name="rq",
        module="rq",
        distributions=("rq", "redis"),
        environment="peers",
        worker=("python", "-m", f"{_PEERS}.rq"),
        settings="Worker (a fork per job), Retry(max=3), no results",
        tuned="job monitoring and maintenance every 5 s",
        processes=CONCURRENCY,
        most_jobs=500,
    ),
    Peer(
        name="dramatiq",
        module="dramatiq",
        distributions=("dramatiq", "redis"),
        environment="peers",
        worker=("dramatiq", f"{_PEERS}.dramatiq", "-p", "1", "-t", str(CONCURRENCY)),
        settings="acknowledges late by itself",
        tuned="heartbeat_timeout 10 s, maintenance with 1 command in 10",
    ),
    Peer(
        name="arq",
        module="arq",
        distributions=("arq", "redis"),
        environment="redis5",
        worker=("arq", f"{_PEERS}.arq.WorkerSettings"),
        settings="acknowledges late by itself; polls every 0.5 s; no results",
        tuned="job_timeout 10 s",
        most_jobs=40,
    ),
    Peer(
        name="arq, 10 ms",
        module="arq",
        distributions=("arq", "redis"),
        environment="redis5",
        worker=("arq", f"{_PEERS}.arq.WorkerSettings"),
        settings="as arq, but polls every 10 ms",
        tuned="",
        most_jobs=500,
        variables={"BENCH_ARQ_POLL_DELAY_S": "0.01"},
        crashes=False,
    ),
    Peer(
        name="saq",
        module="saq",
        distributions=("saq", "redis"),
        environment="redis5",
        worker=("saq", f"{_PEERS}.saq.settings"),
        settings="retries 3, no results",
        tuned="sweep every 5 s",
    ),
    Peer(
        name="taskiq",
        module="taskiq",
        distributions=("taskiq", "taskiq-redis", "redis"),
        environment="peers",
        worker=(
            *("taskiq", "worker", f"{_PEERS}.taskiq:broker", "--workers", "1"),
            *("--max-async-tasks", str(CONCURRENCY), "--ack-type", "when_executed"),
            *("--log-level", "WARNING"),
        ),
        settings="RedisStreamBroker, acknowledged when executed",
        tuned="idle_timeout 10 s",
    ),
    Peer(
        name="huey",
        module="huey",
        distributions=("huey", "redis"),
        environment="peers",
        worker=("huey_consumer", f"{_PEERS}.huey.huey", "-w", str(CONCURRENCY), "-q"),
        settings="none to be had; no results",
        tuned="",
    ),
)
