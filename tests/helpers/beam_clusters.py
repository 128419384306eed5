"""Flink and Spark on two hosts, with Beam's job servers, of Maven Central's jars.

The hosts are network namespaces. On each are a TaskManager, or a Spark worker, and a pool of Beam's
workers, which serves that one alone, as docs/beam.md has it: workers of two managers have the same
names, so that a common pool would stop those of both.

Beam's jars with everything inside, one for each engine, are not on every mirror. The same classes
from their modules are: a job server is started from a class path that Maven has resolved. Beam
2.62.0 is the last version of which all modules were there; Python's Beam may be a newer one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import hosts
from checkout import ROOT
from dockerfile import arguments
from hosts import HERE, Host

_BEAM = "2.62.0"
_FLINK, _SPARK = "1.19.0", "3.5.0"
_BOOT = "github.com/apache/beam/sdks/v2/python/container"
_START_S = 120.0
_POOL = 50000
# Otherwise a worker is started, and imports TFX, for nearly every task.
_CACHED = "--environment_cache_millis=60000"
# What Flink's and Spark's own scripts open for Java 17.
_OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio"),
    *("java.text", "java.time", "java.util", "java.util.concurrent"),
    *("java.util.concurrent.atomic", "java.util.concurrent.locks"),
    *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId> <artifactId>tests</artifactId> <version>1</version>
  <packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""
_DEPENDENCY = """
    <dependency>
      <groupId>{}</groupId> <artifactId>{}</artifactId> <version>{}</version>
    </dependency>"""
_LOG = "org.slf4j:slf4j-simple:1.7.36"
# Two TaskManagers of one slot each. Without Flink's scripts every part of the memory has to be
# told, to Flink and to Java. TFMA's graph needed more than 256 MB for the network.
_FLINK_CONFIG = """
jobmanager.rpc.address: {server}
jobmanager.rpc.port: {rpc}
rest.address: {server}
rest.port: {rest}
rest.bind-address: {server}
classloader.resolve-order: parent-first
parallelism.default: 2
taskmanager.host: {host}
taskmanager.numberOfTaskSlots: 1
taskmanager.cpu.cores: 1
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.heap.size: 512m
taskmanager.memory.task.off-heap.size: 128m
taskmanager.memory.managed.size: 128m
taskmanager.memory.network.min: 512m
taskmanager.memory.network.max: 512m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 128m
taskmanager.memory.jvm-overhead.max: 128m
io.tmp.dirs: {directory}
"""


def lacking() -> str | None:
    """What this machine lacks to start a cluster, or None."""
    programs = ("java", "mvn", "go")
    return hosts.lacking() or next((each for each in programs if not shutil.which(each)), None)


@contextmanager
def flink_cluster(directory: Path) -> Iterator[tuple[list[str], list[Path]]]:
    """A JobManager and a job server here, a TaskManager and Beam's workers on each of two hosts.

    Yields:
      Beam's options for jobs there, and the log of each pool.
    """
    beam = _class_path(directory / "beam", f"org.apache.beam:beam-runners-flink-1.19:{_BEAM}", _LOG)
    flink = _class_path(directory / "flink", f"org.apache.flink:flink-clients:{_FLINK}", _LOG)
    rpc, rest = hosts.free_ports(2)
    entry = "org.apache.flink.runtime"

    def java(where: Host, name: str, heap: str, entry_point: str) -> AbstractContextManager[None]:
        config = directory / f"conf_{name}"
        config.mkdir()
        addresses = {"rpc": rpc, "rest": rest, "server": HERE.address, "host": where.address}
        (config / "config.yaml").write_text(_FLINK_CONFIG.format(**addresses, directory=directory))
        command = [f"{entry}.{entry_point}", "-c", str(config)]
        # With Beam's jars among Flink's own, as docs/beam.md has it.
        class_path = os.pathsep.join((flink, beam))
        return _java(directory / f"{name}.txt", class_path, heap, command, where)

    with ExitStack() as stack:
        workers = stack.enter_context(_workers(directory))
        server = "entrypoint.StandaloneSessionClusterEntrypoint"
        stack.enter_context(java(HERE, "jobmanager", "512m", server))
        for number, host in enumerate(workers):
            entry_point = "taskexecutor.TaskManagerRunner"
            stack.enter_context(java(host, f"taskmanager_{number}", "640m", entry_point))
        _wait(
            lambda: b'"taskmanagers":2' in _get(f"http://{HERE.address}:{rest}/overview"), directory
        )
        driver = "flink.FlinkJobServerDriver"
        options = stack.enter_context(
            _job_server(directory, beam, driver, f"--flink-master={HERE.address}:{rest}")
        )
        yield [*options, "--parallelism=2", _CACHED], sorted(directory.glob("pool_*.txt"))


@contextmanager
def spark_cluster(directory: Path) -> Iterator[tuple[list[str], list[Path]]]:
    """A master and a job server here, a worker and Beam's workers on each of two hosts.

    Yields:
      Beam's options for jobs there, and the log of each pool.
    """
    spark = [f"org.apache.spark:spark-{each}_2.12:{_SPARK}" for each in ("core", "streaming")]
    # Maven takes the nearest version, which is not always Spark's own.
    spark += [
        "com.fasterxml.jackson.core:jackson-core:2.15.2",
        "com.google.guava:guava:33.3.1-android",
        "org.slf4j:slf4j-api:2.0.7",
    ]
    runner = f"org.apache.beam:beam-runners-spark-3:{_BEAM}"
    beam = _class_path(directory / "beam", runner, *spark)
    engine = _class_path(directory / "spark", *spark)
    # Where a worker looks for what an executor needs.
    jars = directory / "spark" / "jars"
    jars.mkdir()
    (directory / "spark" / "RELEASE").touch()
    for jar in map(Path, engine.split(os.pathsep)):
        (jars / jar.name).symlink_to(jar)
    home = {"SPARK_HOME": str(directory / "spark"), "SPARK_SCALA_VERSION": "2.12"}
    port, page = hosts.free_ports(2)
    deploy, master = "org.apache.spark.deploy", f"spark://{HERE.address}:{port}"
    with ExitStack() as stack:
        workers = stack.enter_context(_workers(directory))
        command = [f"{deploy}.master.Master", "--host", HERE.address, "--port", str(port)]
        command += ["--webui-port", str(page)]
        stack.enter_context(_java(directory / "master.txt", engine, "512m", command))
        for number, host in enumerate(workers):
            command = [f"{deploy}.worker.Worker", "--host", host.address, "--webui-port", "0"]
            command += ["--cores", "1", "--memory", "1g"]
            command += ["--work-dir", str(directory / f"work_{number}"), master]
            log = directory / f"worker_{number}.txt"
            stack.enter_context(_java(log, engine, "512m", command, host, home))
        _wait(lambda: _get(f"http://{HERE.address}:{page}/json/").count(b"ALIVE") == 3, directory)
        driver = "spark.SparkJobServerDriver"
        options = stack.enter_context(
            _job_server(directory, beam, driver, f"--spark-master-url={master}")
        )
        yield [*options, _CACHED], sorted(directory.glob("pool_*.txt"))


@contextmanager
def _job_server(directory: Path, class_path: str, driver: str, master: str) -> Iterator[list[str]]:
    """Beam's job service for a cluster; yields the options for it and the workers."""
    job, artifacts = hosts.free_ports(2)
    command = [
        f"org.apache.beam.runners.{driver}",
        *(
            master,
            f"--job-host={HERE.address}",
            f"--job-port={job}",
            f"--artifact-port={artifacts}",
        ),
        *("--expansion-port=-1", f"--artifacts-dir={directory / 'staged'}"),
    ]
    log = directory / "job_server.txt"
    with _java(log, class_path, "1g", command):
        _wait(lambda: _listens(job), directory)
        yield [
            f"--job_endpoint={HERE.address}:{job}",
            f"--artifact_endpoint={HERE.address}:{artifacts}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{_POOL}",
        ]


@contextmanager
def _workers(directory: Path) -> Iterator[list[Host]]:
    """Two hosts where a pool starts Beam workers when asked to: by Beam's boot, as in our image."""
    go = os.environ | {"GOBIN": str(directory), "CGO_ENABLED": "0"}
    boot = f"{_BOOT}@v{arguments()['BEAM_VERSION']}"
    subprocess.run(["go", "install", boot], env=go, check=True)
    command = [
        *(sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"),
        *(f"--service_port={_POOL}", f"--container_executable={directory / 'container'}"),
    ]
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        # Otherwise boot makes every worker an environment of its own.
        "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1",
    }
    with ExitStack() as stack:
        found = stack.enter_context(hosts.hosts(2))
        for number, host in enumerate(found):
            log = directory / f"pool_{number}.txt"
            stack.enter_context(_process(log, [*host.enter, *command], environment))
        yield found


def _class_path(directory: Path, *artifacts: str) -> str:
    """The jars of some artifacts `group:name:version`, and of what they need."""
    directory.mkdir()
    dependencies = "".join(_DEPENDENCY.format(*each.split(":")) for each in artifacts)
    (directory / "pom.xml").write_text(_POM.format(dependencies=dependencies))
    command = ["mvn", "-q", "-B", "dependency:build-classpath", "-Dmdep.outputFile=path"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return (directory / "path").read_text()


def _java(
    log: Path,
    class_path: str,
    heap: str,
    command: Sequence[str],
    where: Host = HERE,
    environment: Mapping[str, str] | None = None,
) -> AbstractContextManager[None]:
    opened = [f"--add-opens=java.base/{each}=ALL-UNNAMED" for each in _OPENED]
    java = [
        "java",
        f"-Xmx{heap}",
        "-XX:MaxDirectMemorySize=1g",
        *opened,
        "-cp",
        class_path,
        *command,
    ]
    # Spark tells others where it can be reached.
    own = {"SPARK_LOCAL_IP": where.address, **(environment or {})}
    return _process(log, [*where.enter, *java], own)


@contextmanager
def _process(log: Path, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """A program with those that it starts; all are gone afterwards."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            cwd=log.parent,  # Beam's boot leaves a file there.
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _get(url: str) -> bytes:
    try:
        with urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except (URLError, OSError):
        return b""


def _listens(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex((HERE.address, port)) == 0


def _wait(ready: Callable[[], bool], directory: Path) -> None:
    end = time.monotonic() + _START_S
    while not ready():
        if time.monotonic() > end:
            logs = {each.name: each.read_text()[-2000:] for each in directory.glob("*.txt")}
            raise AssertionError("\n".join(f"{name}:\n{text}" for name, text in logs.items()))
        time.sleep(0.5)
