"""What a Ray cluster can give, and what is said when it cannot: nothing here starts Ray."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
import time

import pytest
from tiny_sweep import TINY, spec

from scalelaw import cli
from scalelaw.errors import UserError
from scalelaw.launch.ray.cluster import fitting, join
from scalelaw.sweep import read_spec
from scalelaw.sweep.resources import RaySection

ASKED = RaySection()


def most_by_trying(slots: tuple[int, ...], hosts: int) -> int:
    """Places run after run on the nodes with the most room, which is best for runs that are alike."""
    room, runs = list(slots), 0
    while True:
        roomy = sorted(range(len(room)), key=lambda node: -room[node])[:hosts]
        if len(roomy) < hosts or room[roomy[-1]] == 0:
            return runs
        for node in roomy:
            room[node] -= 1
        runs += 1


def test_as_many_runs_fit_as_placing_them_one_by_one_finds():
    for slots in itertools.product(range(4), repeat=4):
        nodes = [{"CPU": 2.0 * slot + 1} for slot in slots]
        for hosts in range(1, 6):
            assert fitting(nodes, {"CPU": 2.0}, hosts) == most_by_trying(slots, hosts), (slots, hosts)


def test_what_is_scarcest_decides_and_shares_of_a_gpu_add_up():
    node = {"CPU": 64.0, "GPU": 4.0, "memory": 64e9}
    assert fitting([node], {"CPU": 4, "GPU": 1}, 1) == 4
    assert fitting([node], {"CPU": 4, "GPU": 0.1}, 1) == 16
    assert fitting([node, {"CPU": 8.0}], {"CPU": 1, "memory": 20e9}, 1) == 3
    assert fitting([node], {"CPU": 1, "TPU": 4}, 1) == 0
    assert fitting([], {"CPU": 1}, 1) == 0


def server(answer: bytes | None) -> int:
    """A port that answers once so; None closes at once."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with listening, connection:
            if answer:
                connection.recv(100)
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return int(listening.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", r"127\.0\.0\.1:1: does not answer .*refused.*ray status on the head node"),
        ("127.0.0.1", "must be HOST:PORT, such as"),
        ("127.0.0.1:99999", "does not answer"),
        ("ray://127.0.0.1:10001", "must stand on a node of the cluster"),
    ],
)
def test_an_address_where_no_cluster_is_is_refused_quickly(address, words):
    pytest.importorskip("ray", reason="Ray is not installed: it has no wheel for this Python")
    began = time.monotonic()
    with pytest.raises(UserError, match=words):
        join(address, ASKED, "spec.toml: [ray]", None)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n"])
def test_something_else_at_the_address_is_not_taken_for_ray(answer):
    pytest.importorskip("ray", reason="Ray is not installed: it has no wheel for this Python")
    with pytest.raises(UserError, match=r"but it is not Ray|does not answer"):
        join(f"127.0.0.1:{server(answer)}", ASKED, "spec.toml: [ray]", None)


def test_the_address_may_come_from_the_environment(monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: it has no wheel for this Python")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1: does not answer"):
        join(None, ASKED, "spec.toml: [ray]", None)


def test_without_ray_one_line_says_what_to_install_and_nothing_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as stop:
        cli.main(["sweep", str(spec(tmp_path)), "-o", str(tmp_path / "out"), "--engine", "ray"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "scalelaw: --engine ray needs Ray: pip install 'scalelaw[ray]'\n"
    assert not (tmp_path / "out").exists()


def test_an_address_without_the_engine_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["sweep", str(spec(tmp_path)), "--ray-address", "auto"])
    assert stop.value.code == 2
    assert "goes with --engine ray" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("gpus = 1\ntpus = 4", "keep one"),
        ("gpus = 1.5", "write 1"),
        ("gpus = 0.5\nhosts = 2", "a share of a GPU is for runs of one host"),
        ("cpus = 0", "cpus"),
        ("gpu = 1", "did you mean 'gpus'"),
        ("gpus = 4\nhosts = 2\n[devices]\ncount = 4", r"\[ray\] is 8 devices a run, and \[devices\] count plans for 4"),
    ],
)
def test_mistakes_in_the_section_are_told(tmp_path, section, words):
    with pytest.raises(UserError, match=words):
        read_spec(spec(tmp_path, f"{TINY}[ray]\n{section}\n"))


def test_the_section_names_what_a_host_gives_and_is_no_part_of_a_run(tmp_path):
    from scalelaw.sweep import expand

    text = "cpus = 8\ngpus = 4\nmemory_gb = 60.0\nhosts = 2\nretries = 0\n[devices]\ncount = 8"
    with_section = read_spec(spec(tmp_path, f"{TINY}[ray]\n{text}\n"))
    assert with_section.ray.per_host() == {"CPU": 8, "GPU": 4, "memory": 60e9}
    assert str(with_section.ray) == "8 CPU, 4 GPU, 60 GB on each of 2 hosts"
    assert [run.run_id for run in expand(with_section)] == [run.run_id for run in expand(read_spec(spec(tmp_path)))]
