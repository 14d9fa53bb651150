"""Machines made of Linux namespaces on this one: a cable and a switch each, a disk, processes and a host name of its own, and an sshd.

A disk is a layer over this machine's `/` that lives in memory and is gone with the machine. One folder, `SHARE`, is common to all, as an NFS mount is.
Nothing outside is changed, and nothing outside can be reached. Needs root, iproute2, openssh-server and rsync.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests.needs import cannot

SHARE = "/mnt/sweeps"
HOME = "/home/machine"
VENV = f"{HOME}/venv"
NET = "10.77.0"
BRIDGE = "switch"
ADDRESSES = {"laptop": f"{NET}.2", "head": f"{NET}.10", "worker-1": f"{NET}.11", "worker-2": f"{NET}.12"}
PROGRAMS = {"ip": "iproute2", "sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync", "unshare": "util-linux"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"HOME": HOME, "PATH": PATH, "TERM": "xterm", "LANG": "C.UTF-8", "RAY_USAGE_STATS_ENABLED": "0"}
SECONDS = 60.0

# $1 its folder, $2 its name, $3 the shared folder, $4 the image: what its home begins with.
BOOT = f"""
set -eu
mount --make-rprivate /
mkdir -p "$1/disk"
mount -t tmpfs -o size=3g disk "$1/disk"
mkdir "$1/disk/upper" "$1/disk/work" "$1/disk/root"
R="$1/disk/root"
mount -t overlay disk -o "lowerdir=/,upperdir=$1/disk/upper,workdir=$1/disk/work" "$R"
hostname "$2"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
mount --bind /dev "$R/dev"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$R/dev/pts"
if [ -e "$R/dev/ptmx" ]; then mount --bind "$R/dev/pts/ptmx" "$R/dev/ptmx"; fi
mount -t tmpfs -o size=2g shm "$R/dev/shm"
mount -t tmpfs run "$R/run"
mkdir -p "$R/run/sshd" "$R/tmp/ray" "$R{SHARE}"
mount -t tmpfs -o size=2g ray "$R/tmp/ray"
mount --bind "$3" "$R{SHARE}"
cp -a "$4" "$R{HOME}"
sed -i 's,^root:\\(.*\\):/root:,root:\\1:{HOME}:,' "$R/etc/passwd"
printf '127.0.0.1 localhost\\n%s\\n' "$(cat "$1/hosts")" > "$R/etc/hosts"
: > "$R/etc/resolv.conf"
cd "$R"
mkdir .old
pivot_root . .old
cd /
umount -l /.old
ssh-keygen -A > /dev/null
exec env -i PATH={PATH} bash -c '
/usr/sbin/sshd -D -e -f /dev/null -o UsePAM=no -o UseDNS=no -o PasswordAuthentication=no -o MaxStartups=50:30:100 -o StrictModes=no &
while :; do wait -n || sleep 1; done'
"""


class CannotBeMade(Exception):
    """This computer makes no such machines; one line says why."""


def not_tested(error: CannotBeMade) -> NoReturn:
    """Fail, loudly, in CI, and skip elsewhere."""
    cannot(f"THE CLUSTER IS NOT TESTED: {error}")


def check() -> None:
    """CannotBeMade unless this process may make namespaces, and has the programs."""
    if os.geteuid():
        raise CannotBeMade("machines of namespaces are made by root: run this as root")
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program, path=PATH) is None]
    if missing:
        raise CannotBeMade(f"machines of namespaces need {', '.join(missing)}: run 'apt-get install {' '.join(missing)}'")
    probe = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        raise CannotBeMade(f"this system makes no namespaces ({probe.stderr.strip()}): run this outside of a container that forbids them")


def call(*words: str) -> str:
    """Run to a good end; what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBeMade(f"`{' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@dataclass
class Machine:
    """One of them. `init` is its first process; when that ends, all others do."""

    name: str
    folder: Path
    space: str
    address: str
    switch: str
    boot: subprocess.Popen[bytes] | None = None
    init: int = field(default=0)

    def start(self, share: Path, image: Path) -> None:
        """Power on, with an empty disk."""
        self.plug()
        words = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "bash", "-c", BOOT, "boot"]
        with (self.folder / "console.log").open("ab") as console:
            self.boot = subprocess.Popen(
                ["ip", "netns", "exec", self.space, *words, str(self.folder), self.name, str(share), str(image)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        until = time.monotonic() + SECONDS
        while not (self._find_init() and self._answers()):
            if self.boot.poll() is not None or time.monotonic() > until:
                raise CannotBeMade(f"{self.name} does not start: {(self.folder / 'console.log').read_text()[-1000:]}")
            time.sleep(0.05)

    def _find_init(self) -> bool:
        assert self.boot
        # `ip netns exec` becomes `unshare`, whose only child is the first process of the machine.
        children = Path(f"/proc/{self.boot.pid}/task/{self.boot.pid}/children")
        found = children.read_text().split() if children.exists() else []
        self.init = int(found[0]) if found else 0
        return bool(found)

    def _answers(self) -> bool:
        words = ["ip", "netns", "exec", self.switch, sys.executable, "-c", PROBE, self.address]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    @property
    def running(self) -> bool:
        """Whether it is on."""
        return self.boot is not None and self.boot.poll() is None

    def kill(self) -> None:
        """Power off: every process is gone, and the disk with them."""
        if self.boot and self.running:
            os.kill(self.init, signal.SIGKILL)
            self.boot.wait(SECONDS)

    def unplug(self) -> None:
        """Pull its cable: to the others it is silent, and it goes on by itself."""
        call("ip", "-n", self.switch, "link", "set", f"to-{self.name}", "down")

    def plug(self) -> None:
        """Put the cable back."""
        call("ip", "-n", self.switch, "link", "set", f"to-{self.name}", "up")

    def start_process(self, command: str) -> subprocess.Popen[str]:
        """A command in it, as in a shell of who has logged in."""
        clean = ["env", "-i", "-C", "/", *(f"{key}={value}" for key, value in ENVIRONMENT.items())]
        words = ["nsenter", "--target", str(self.init), "--all", *clean, "bash", "-c", f"cd ~; . ~/.bashrc; {command}"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, "text": True}
        return subprocess.Popen(words, **pipes)

    def run(self, command: str, seconds: float = 120.0, code: int = 0) -> str:
        """The same to its end, which must have that exit code; all that it printed."""
        with self.start_process(command) as process:
            try:
                out, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
                raise AssertionError(f"{self.name}: `{command}` took more than {seconds} s:\n{out[-6000:]}") from None
        assert process.returncode == code, f"{self.name}: `{command}` ended with {process.returncode}:\n{out[-6000:]}"
        return out


PROBE = "import socket, sys; socket.create_connection((sys.argv[1], 22), timeout=0.5).close()"


class Lab:
    """A switch, and the machines of ADDRESSES at it."""

    def __init__(self, folder: Path) -> None:
        check()
        self.folder = folder
        self.share = folder / "share"
        self.share.mkdir()
        self.image = folder / "image"
        make_image(self.image)
        # Names of namespaces are the computer's: another run of the tests may go on beside this one.
        self.switch = f"sweeps-{os.getpid()}-{BRIDGE}"
        self.machines: dict[str, Machine] = {}
        try:
            self._lay_cables()
        except BaseException:
            self.close()
            raise

    def _lay_cables(self) -> None:
        call("ip", "netns", "add", self.switch)
        call("ip", "-n", self.switch, "link", "add", BRIDGE, "type", "bridge")
        call("ip", "-n", self.switch, "addr", "add", f"{NET}.1/24", "dev", BRIDGE)
        call("ip", "-n", self.switch, "link", "set", BRIDGE, "up")
        hosts = "\n".join(f"{address} {name}" for name, address in ADDRESSES.items())
        for name, address in ADDRESSES.items():
            machine = Machine(name, self.folder / name, f"sweeps-{os.getpid()}-{name}", address, self.switch)
            machine.folder.mkdir()
            (machine.folder / "hosts").write_text(hosts)
            call("ip", "netns", "add", machine.space)
            self.machines[name] = machine
            call("ip", "-n", machine.space, "link", "set", "lo", "up")
            call("ip", "-n", machine.space, "link", "add", "eth0", "type", "veth", "peer", "name", f"to-{name}", "netns", self.switch)
            call("ip", "-n", self.switch, "link", "set", f"to-{name}", "master", BRIDGE, "up")
            call("ip", "-n", machine.space, "addr", "add", f"{address}/24", "dev", "eth0")
            call("ip", "-n", machine.space, "link", "set", "eth0", "up")
            # It leads nowhere. Ray asks the system for a route to find its own address.
            call("ip", "-n", machine.space, "route", "add", "default", "via", f"{NET}.1")

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def start(self, *names: str) -> None:
        """Power machines on that are off."""
        for name in names:
            self[name].start(self.share, self.image)

    def close(self) -> None:
        """No trace is left."""
        for machine in self.machines.values():
            machine.kill()
            subprocess.run(["ip", "netns", "del", machine.space], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.switch], capture_output=True, check=False)


def make_image(image: Path) -> None:
    """What a machine's home begins with: a key that all of them know, and the project's packages at hand, as an image that was made for it has them.
    The project itself is not in it."""
    root = Path(__file__).parents[2]
    (image / ".ssh").mkdir(parents=True, mode=0o700)
    key = image / ".ssh" / "id_ed25519"
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", socket.gethostname(), "-f", str(key))
    shutil.copy(key.with_suffix(".pub"), image / ".ssh" / "authorized_keys")
    (image / ".bashrc").write_text("# of a new machine\n")
    (image / ".profile").write_text(". ~/.bashrc\n")
    venv, ours = image / "venv", Path(sys.prefix)
    call(sys.executable, "-m", "venv", "--without-pip", str(venv))
    packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    # Paths in a .pth file are not looked through for further ones: the checkout that the tests run in is not among them.
    (venv / packages / "image.pth").write_text(f"{HOME}/keras-sweeps\n{ours / packages}\n")
    for name in ("ray", "sweeps"):
        _, _, rest = (ours / "bin" / name).read_text().partition("\n")
        (venv / "bin" / name).write_text(f"#!{VENV}/bin/python\n{rest}")
        (venv / "bin" / name).chmod(0o755)
    # What the cluster file looks at before it installs anything.
    (venv / "installed").write_bytes((root / "pyproject.toml").read_bytes() + (root / "constraints.txt").read_bytes())
