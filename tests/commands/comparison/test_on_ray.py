"""Cells as Ray tasks."""

import importlib.util
import os
import secrets
import time
from argparse import Namespace

import pytest

from pcpad.commands.comparison.engines import engine
from pcpad.commands.comparison.grid import Grid

# Ray reads its settings once, when it is imported.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.own_process]


@pytest.fixture
def _own_environment(monkeypatch):
    """What Ray is told is told for one test."""
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_own_environment")
def test_a_node_that_goes_down_leaves_the_same_table(small_grid, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    on_loopback = {"node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
    head = {"num_cpus": 0, "include_dashboard": False, **on_loopback}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = [cluster.add_node(num_cpus=1, **on_loopback) for _ in range(2)]
        process = small_grid.start("ray", "--on=ray", f"--address={cluster.address}")
        deadline = time.monotonic() + 600
        # Until a cell runs on each, with an epoch saved.
        while len(list((small_grid.folder / "ray").rglob("last.ckpt"))) < 2 and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
        cluster.remove_node(nodes[1], allow_graceful=False)
        printed, _ = process.communicate(timeout=1200)
    finally:
        cluster.shutdown()
    print(printed)
    assert process.returncode == 0, printed
    fits = small_grid.fits("ray")
    print(fits)
    assert sorted(fits.values()) == [1, 1, 1, 2]  # one was hit, and went on; nothing else was done twice
    (hit,) = (name for name, count in fits.items() if count == 2)
    assert "--ckpt_path=" in (small_grid.folder / "ray" / hit / "log.txt").read_text().rpartition("$ pcpad fit")[2]
    print(small_grid.run("jobs", "--jobs=2"))
    assert small_grid.tables("ray") == small_grid.tables("jobs")
    again = small_grid.run("ray", "--jobs=2")
    assert "4 of 4 runs are finished already" in again


def asked(cell_cpus=1):
    return Namespace(on="ray", output="x", cell_cpus=cell_cpus, cell_gpus=None, address=None, slurm=[])


@pytest.mark.usefixtures("_own_environment")
def test_its_own_cluster_listens_to_this_machine_alone():
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the extra `ray` is not installed")
    psutil = pytest.importorskip("psutil")
    grid = Grid(("fake.yaml",), (), (), (), resolved={"trainer": {"accelerator": "cpu"}})
    with engine(asked(), grid):
        import ray

        assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
        assert os.environ["RAY_AUTH_MODE"] == "token"
        listening = [
            connection.laddr
            for process in psutil.Process().children(recursive=True)
            for connection in process.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        print(listening)
        assert len(listening) >= 3
        assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
        assert not any(address.port == 8265 for address in listening)  # the dashboard's
    assert not ray.is_initialized()
    with pytest.raises(ValueError, match=r"No machine of the Ray cluster has 9999 CPUs and 0 GPUs"):
        engine(asked(cell_cpus=9999), grid).__enter__()
    assert not ray.is_initialized()
